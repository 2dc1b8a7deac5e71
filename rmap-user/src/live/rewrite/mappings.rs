//! Which mappings of a process may be watched.
//!
//! Comes in: the text of `/proc/PID/maps`. Goes out: ranges, in the order of their addresses.

use std::ops::Range;

/// A mapping that may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Its addresses.
    pub(super) range: Range<u64>,
    /// What differs in another one at the same place: offset, device, inode and name.
    pub(super) identity: String,
}

/// Mappings that may be written, but for the stack of the first thread, which every call writes to,
/// huge pages of hugetlbfs, and devices.
pub(super) fn writable(maps: &str) -> Vec<Mapping> {
    maps.lines().filter_map(mapping).collect()
}

fn mapping(line: &str) -> Option<Mapping> {
    const NOT: [&str; 4] = ["[stack", "/anon_hugepage", "/dev/", "[v"];
    let (addresses, rest) = line.split_once(' ')?;
    let (perms, identity) = rest.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let range = number(start)?..number(end)?;
    let name = identity.splitn(4, ' ').nth(3).unwrap_or_default().trim_start();
    let shared_memory = name.starts_with("/dev/shm/") || name.starts_with("/dev/zero");
    let refused = NOT.iter().any(|not| name.starts_with(not)) && !shared_memory;
    // The kernel's half has none, and a range that is none is none.
    let plain = range.start < range.end && i64::try_from(range.end).is_ok();
    (perms.as_bytes().get(1) == Some(&b'w') && plain && !refused)
        .then(|| Mapping { range, identity: identity.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writable_memory_is_watched_but_for_stacks_and_devices() {
        let maps = "\
00400000-00401000 r-xp 00000000 fe:00 12 /bin/x
00600000-00601000 rw-p 00001000 fe:00 12 /bin/x
01000000-01021000 rw-p 00000000 00:00 0                                  [heap]
7f0000000000-7f0000002000 rw-p 00000000 00:00 0 
7f0000002000-7f0000004000 rw-s 00000000 00:01 99                         /memfd:m (deleted)
7f0000004000-7f0000006000 rw-s 00000000 00:01 98                         /dev/shm/s
7f0000006000-7f0000008000 rw-s 00000000 00:06 97                         /dev/dri/card0
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
garbage
";
        let starts: Vec<u64> = writable(maps).iter().map(|mapping| mapping.range.start).collect();
        let heap = 0x100_0000;
        assert_eq!(starts, [0x60_0000, heap, 0x7f00_0000_0000, 0x7f00_0000_2000, 0x7f00_0000_4000]);
    }
}
