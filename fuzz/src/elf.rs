//! A small ELF file around an `.eh_frame`, so that a fuzzer spends its time behind the headers.
//!
//! Comes in: the section's bytes. Goes out: a file with one executable segment, and a segment
//! with `.eh_frame_hdr` and the section, as a file without section headers has them.

/// Where the code is.
pub const TEXT: u64 = 0x1000;
/// How much code there is, in bytes.
const TEXT_BYTES: u64 = 0x1000;
/// Where `.eh_frame_hdr` is, in the file and in memory.
const HDR: u64 = 64 + 3 * 56;
/// Length of `.eh_frame_hdr`: four bytes of encodings, a pointer, no search table.
const HDR_BYTES: u64 = 12;
/// Where `.eh_frame` is.
pub const EH_FRAME: u64 = HDR + HDR_BYTES;

/// The file.
pub fn with_eh_frame(eh_frame: &[u8]) -> Vec<u8> {
    let all = EH_FRAME + eh_frame.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [3u16, 62] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    // Entry point, program headers, section headers.
    for word in [TEXT, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 3, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // Type, flags, then offset, address twice, size in the file and in memory, alignment.
    for (kind, flags, start, size) in [
        (1u32, 5u32, TEXT, TEXT_BYTES),
        (1, 4, 0, all),
        // PT_GNU_EH_FRAME
        (0x6474_e550, 4, HDR, HDR_BYTES),
    ] {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [start, start, start, size, size, 8] {
            file.extend(word.to_le_bytes());
        }
    }
    // Version 1; the pointer is relative to itself (0x1b), count and table are left out (0xff).
    file.extend([1, 0x1b, 0xff, 0xff]);
    file.extend(((EH_FRAME - HDR - 4) as u32).to_le_bytes());
    file.extend([0; 4]);
    file.extend(eh_frame);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CIE and an FDE of the whole text, as GCC writes them.
    pub fn usual() -> Vec<u8> {
        let mut bytes = vec![
            20, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1,
            0, 0,
        ];
        bytes.extend([20, 0, 0, 0, 28, 0, 0, 0]);
        let here = EH_FRAME + bytes.len() as u64;
        bytes.extend(((TEXT - here) as u32).to_le_bytes());
        bytes.extend((TEXT_BYTES as u32).to_le_bytes());
        bytes.extend([0, 0x41, 0x0e, 16, 0x86, 2, 0, 0]);
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn the_section_is_found_and_read() {
        let table = rmap::unwind::table::Table::build(&with_eh_frame(&usual())).unwrap();
        assert_eq!((table.stats.functions, table.stats.bad_entries), (1, 0));
    }
}
