//! To whom the pages that processes map are charged.
//!
//! Comes in: processes, and the inodes of a group and of those below it. Goes out: bytes. A page that
//! several processes map is charged once, so frames are gathered over all of them first.
//!
//! Interface: `/proc/kpagecgroup` (the inode of the memory cgroup of each frame) in
//! `Documentation/admin-guide/mm/pagemap.rst`; root alone.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ::procfs::PhysicalPageFlags as Flags;

use crate::live::procfs;
use crate::report::CgroupPages;

/// Entries of 8 bytes that one call reads.
const WINDOW: usize = 512;

/// A frame that is no anonymous memory has this bit, beside its number.
const FILE: u64 = 1 << 63;

/// The largest large folio, in pages.
const LARGEST: u64 = 512;

/// Counts them.
pub(super) fn count(pids: &[u32], own: &HashSet<u64>) -> io::Result<CgroupPages> {
    let mut charged = Table::open("/proc/kpagecgroup")?;
    let mut flags = Table::open("/proc/kpageflags")?;
    let mut frames = Vec::new();
    for pid in pids {
        // One that has ended maps nothing.
        let _ =
            procfs::frames(*pid, |frame, file| frames.push(frame | if file { FILE } else { 0 }));
    }
    frames.sort_unstable_by_key(|frame| frame & !FILE);
    frames.dedup_by_key(|frame| *frame & !FILE);
    let (page, mut found) = (procfs::page_bytes(), CgroupPages::default());
    for entry in frames {
        let (frame, file) = (entry & !FILE, entry & FILE != 0);
        let mut group = charged.at(frame)?;
        if group == Some(0) {
            // Kernels before 6.4 report it of a folio's first page alone.
            group = charged.at(head(&mut flags, frame)?)?;
        }
        let sum = match group {
            None | Some(0) => &mut found.uncharged_bytes,
            Some(inode) if !own.contains(&inode) => &mut found.elsewhere_bytes,
            Some(_) if file => &mut found.file_bytes,
            Some(_) => &mut found.anon_bytes,
        };
        *sum += page;
    }
    Ok(found)
}

/// The first frame of the folio that a frame is part of.
fn head(flags: &mut Table, frame: u64) -> io::Result<u64> {
    let mut at = frame;
    while frame - at < LARGEST
        && flags.at(at)?.is_some_and(|word| Flags::parse_info(word).contains(Flags::COMPOUND_TAIL))
    {
        at = at.saturating_sub(1);
    }
    Ok(at)
}

/// A file with 8 bytes for each frame, read in windows.
struct Table {
    file: File,
    first: u64,
    words: Vec<u64>,
}

impl Table {
    fn open(path: &str) -> io::Result<Self> {
        let file = File::open(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        Ok(Self { file, first: 0, words: Vec::new() })
    }

    /// The word of a frame; `None` where there is no memory.
    fn at(&mut self, frame: u64) -> io::Result<Option<u64>> {
        let first = frame - frame % WINDOW as u64;
        if self.words.is_empty() || self.first != first {
            let mut bytes = [0; 8 * WINDOW];
            let got = self.file.read_at(&mut bytes, first.saturating_mul(8))?;
            self.words.clear();
            self.words
                .extend(bytes[..got].as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)));
            self.first = first;
        }
        Ok(self.words.get((frame - first) as usize).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_pages_are_charged_to_somebody_else_than_no_group() {
        let Ok(found) = count(&[std::process::id()], &HashSet::new()) else {
            eprintln!("SKIP own_pages_are_charged: /proc/kpagecgroup is not readable");
            return;
        };
        assert_eq!((found.anon_bytes, found.file_bytes), (0, 0), "no group is its own");
        assert!(found.elsewhere_bytes + found.uncharged_bytes > 0);
    }
}
