//! Code that a process made at run time, read from its memory.
//!
//! Comes in: an address. Goes out: eight bytes, if they are resident: reading others would make
//! them so, and rmap changes nothing of what it measures.

use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGE: u64 = 4096;
/// The bit of an entry of `/proc/PID/pagemap` that says that the page is there (kernel
/// `Documentation/admin-guide/mm/pagemap.rst`).
const PRESENT: u64 = 1 << 63;

/// The word at an address of a process, if it is resident.
pub(super) fn resident_word(pid: u32, address: u64) -> Option<u64> {
    let process = |name: &str| File::open(format!("/proc/{pid}/{name}"));
    let pagemap = process("pagemap").ok()?;
    for page in [address / PAGE, address.checked_add(7)? / PAGE] {
        let mut entry = [0; 8];
        pagemap.read_exact_at(&mut entry, page.checked_mul(8)?).ok()?;
        if u64::from_ne_bytes(entry) & PRESENT == 0 {
            return None;
        }
    }
    let mut word = [0; 8];
    process("mem").ok()?.read_exact_at(&mut word, address).ok()?;
    Some(u64::from_ne_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::resident_word;

    #[test]
    fn a_word_of_our_own_is_read_and_one_that_is_not_there_is_none() {
        let word = std::hint::black_box(0x0123_4567_89ab_cdef_u64);
        let pid = std::process::id();
        assert_eq!(resident_word(pid, (&raw const word).addr() as u64), Some(word));
        assert_eq!(resident_word(pid, 8), None);
        assert_eq!(resident_word(pid, u64::MAX - 7), None);
    }
}
