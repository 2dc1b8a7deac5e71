//! Where a context of glibc's makecontext(3) ends: its first function returns to the first byte of
//! `__start_context`, which nobody called. The byte before a return address is looked up, and that
//! one belongs to no function, so that call frame information cannot tell the end.
//!
//! Comes in: a file. Goes out: the addresses of that function, known by its bytes.

use super::elf::Elf;

/// Most bytes of code that are searched: glibc's libc has some 1.5 MiB.
const MAX_SEARCH: usize = 4 << 20;
/// Functions of glibc begin at multiples of so many bytes.
const ALIGN: usize = 16;

const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
/// `mov %rbx,%rsp`: rbx points to the link to the next context.
const TO_LINK: &[u8] = &[0x48, 0x89, 0xdc];
/// `pop %rdi` or `mov (%rsp),%rdi`: the link.
const LINK: [&[u8]; 2] = [&[0x5f], &[0x48, 0x8b, 0x3c, 0x24]];
/// `test %rdi,%rdi; je`: without one the thread exits.
const IS_THERE: &[u8] = &[0x48, 0x85, 0xff, 0x74];

/// Addresses before relocation.
pub fn starts(elf: &Elf<'_>) -> Vec<u64> {
    let mut found = Vec::new();
    let mut left = MAX_SEARCH;
    for segment in elf.segments.iter().filter(|segment| segment.executable) {
        let Some(bytes) = elf.bytes_from(segment.address) else { continue };
        let bytes = bytes.get(..bytes.len().min(left)).unwrap_or_default();
        left -= bytes.len();
        let first = segment.address.wrapping_neg() as usize & (ALIGN - 1);
        for at in (first..bytes.len()).step_by(ALIGN) {
            if bytes.get(at..).is_some_and(is_start_context) {
                found.push(segment.address + at as u64);
            }
        }
    }
    found
}

fn is_start_context(code: &[u8]) -> bool {
    let code = code.strip_prefix(ENDBR64).unwrap_or(code);
    let Some(code) = code.strip_prefix(TO_LINK) else { return false };
    let code = LINK.iter().find_map(|link| code.strip_prefix(*link));
    code.is_some_and(|code| code.starts_with(IS_THERE))
}

#[cfg(test)]
mod tests {
    use super::is_start_context;

    #[test]
    fn both_forms_are_known_and_nothing_shorter() {
        let old = [0x48, 0x89, 0xdc, 0x5f, 0x48, 0x85, 0xff, 0x74, 8];
        let new = [0x48, 0x89, 0xdc, 0x48, 0x8b, 0x3c, 0x24, 0x48, 0x85, 0xff, 0x74, 8];
        assert!(is_start_context(&old) && is_start_context(&new));
        assert!(is_start_context(&[&[0xf3, 0x0f, 0x1e, 0xfa][..], &new].concat()));
        assert!(!is_start_context(&new[..10]) && !is_start_context(&new[1..]));
    }
}
