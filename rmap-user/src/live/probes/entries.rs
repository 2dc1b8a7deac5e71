//! The dirty bits of a process's own page-table entries: `/proc` tells of the folio's flag alone,
//! and smaps counts a page as dirty by either (kernel `smaps_account`).
//!
//! Comes in: a snapshot of a process, and its address space as the kernel names it. Goes out: the
//! same snapshot, its runs of pages cut by the bit where it is needed: in shared mappings, and where
//! smaps says that some anonymous pages are clean. Entries that do not fit the page map (another
//! program may run by now) are not used.

use aya::{
    Ebpf,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun},
};
use rmap_ebpf::abi;

use super::{Error, Probes, Undisturbed, single};
use crate::trace::{PageRun, PageState, Segment, Snapshot};

/// Bytes that one table of entries maps.
const BLOCK: u64 = 2 << 20;
const PAGE: u64 = 4096;

const PRESENT: u64 = 1;
const DIRTY: u64 = 1 << 6;
/// `_PAGE_PROTNONE` in an entry that is not present otherwise.
const PROT_NONE: u64 = 1 << 8;
/// `_PAGE_SAVED_DIRTY`: the bit of a page that may not be written now.
const SAVED_DIRTY: u64 = 1 << 58;

/// What maps 2 MiB.
enum Block {
    Nothing,
    Huge(u64),
    Small(Box<[u64; abi::TABLE_ENTRIES]>),
}

impl Block {
    fn entry(&self, address: u64) -> Option<u64> {
        let entry = match self {
            Self::Nothing => return None,
            Self::Huge(entry) => *entry,
            Self::Small(entries) => entries[(address % BLOCK / PAGE) as usize],
        };
        (entry & (PRESENT | PROT_NONE) != 0).then_some(entry)
    }
}

impl Probes {
    /// Adds the dirty bits of the entries to a snapshot, where they can be read.
    pub fn add_dirty_bits(&mut self, mm: u64, snapshot: &mut Snapshot) {
        if !self.page_table {
            return;
        }
        let ebpf = &mut self.ebpf;
        add(snapshot, |address| read(ebpf, mm, address).unwrap_or(Block::Nothing));
    }
}

fn read(ebpf: &mut Ebpf, mm: u64, address: u64) -> Result<Block, Error> {
    let Some(program) = ebpf.program_mut("read_table") else { return Ok(Block::Nothing) };
    let Ok(program) = <&mut RawTracePoint>::try_from(program) else { return Ok(Block::Nothing) };
    let mut options = RawTracePointRunOptions::new();
    options.args[..2].copy_from_slice(&[mm, address]);
    if program.test_run(options).is_err() {
        return Ok(Block::Nothing);
    }
    let _undisturbed = Undisturbed::begin();
    let kind = single::<u64>(ebpf, "TABLE_KIND")?
        .get(&0, 0)
        .map_err(|e| Error::Map { name: "TABLE_KIND", why: e.to_string() })?;
    if kind == abi::TABLE_NONE {
        return Ok(Block::Nothing);
    }
    let entries = single::<[u64; abi::TABLE_ENTRIES]>(ebpf, "TABLE")?
        .get(&0, 0)
        .map_err(|e| Error::Map { name: "TABLE", why: e.to_string() })?;
    Ok(if kind == abi::TABLE_HUGE {
        Block::Huge(entries[0])
    } else {
        Block::Small(Box::new(entries))
    })
}

/// Whether smaps leaves open which pages are dirty by the process's own writes.
fn open(segment: &Segment) -> bool {
    let hugetlb = segment.vm_flags.has("ht");
    let shared = !segment.is_private() && segment.has_file();
    segment.dirty > 0 && !hugetlb && (shared || segment.anonymous > segment.dirty)
}

fn add(snapshot: &mut Snapshot, mut read: impl FnMut(u64) -> Block) {
    let Some(pages) = &snapshot.pages else { return };
    let mut all = Vec::with_capacity(pages.len());
    let mut block = (u64::MAX, Block::Nothing);
    let mut segments = snapshot.segments.iter().peekable();
    for run in pages {
        while segments.next_if(|segment| segment.end <= run.range.start).is_some() {}
        let segment = segments.peek().filter(|segment| segment.start <= run.range.start);
        let wanted = match run.kind.state {
            PageState::Anonymous | PageState::File => segment.is_some_and(|s| open(s)),
            PageState::Zero | PageState::Swapped => false,
        };
        if !wanted {
            all.push(run.clone());
            continue;
        }
        let mut at = run.range.start;
        while at < run.range.end {
            if block.0 != at / BLOCK {
                block = (at / BLOCK, read(at));
            }
            // The page map has shown this page: these are not the entries of this process now.
            let Some(entry) = block.1.entry(at) else { return };
            let dirty = entry & (DIRTY | SAVED_DIRTY) != 0;
            let kind = crate::trace::PageKind { entry_dirty: Some(dirty), ..run.kind };
            match all.last_mut() {
                Some(PageRun { range, kind: last }) if range.end == at && *last == kind => {
                    range.end += PAGE;
                }
                _ => all.push(PageRun { range: at..at + PAGE, kind }),
            }
            at += PAGE;
        }
    }
    snapshot.pages = Some(all);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Moment, PageKind};

    const KIND: PageKind = PageKind {
        state: PageState::File,
        huge: false,
        folio_dirty: Some(false),
        large_folio: Some(false),
        entry_dirty: None,
    };

    fn snapshot(perms: &str) -> Snapshot {
        let segment = Segment {
            start: 0x20_0000,
            end: 0x20_8000,
            perms: perms.to_owned(),
            inode: 1,
            rss: 0x4000,
            dirty: 0x1000,
            ..Segment::default()
        };
        Snapshot {
            time_ns: 0,
            pid: 1,
            moment: Moment::AtExit,
            segments: vec![segment],
            pages: Some(vec![PageRun { range: 0x20_1000..0x20_4000, kind: KIND }]),
            folios: Vec::new(),
            threads: Vec::new(),
            peak_rss: 0,
        }
    }

    fn entries(dirty: &[usize], present: std::ops::Range<usize>) -> Block {
        let mut entries = Box::new([0; abi::TABLE_ENTRIES]);
        present.for_each(|page| entries[page] = PRESENT);
        dirty.iter().for_each(|page| entries[*page] |= DIRTY);
        Block::Small(entries)
    }

    #[test]
    fn runs_are_cut_where_the_bit_changes() {
        let mut seen = snapshot("rw-s");
        add(&mut seen, |_| entries(&[2], 1..4));
        let bits: Vec<_> =
            seen.pages.unwrap().into_iter().map(|r| (r.range, r.kind.entry_dirty)).collect();
        let expected = [
            (0x20_1000..0x20_2000, Some(false)),
            (0x20_2000..0x20_3000, Some(true)),
            (0x20_3000..0x20_4000, Some(false)),
        ];
        assert_eq!(bits, expected);
    }

    #[test]
    fn what_smaps_tells_is_not_asked_and_foreign_entries_are_not_used() {
        let mut private = snapshot("r--p");
        add(&mut private, |_| panic!("nothing is open"));
        let mut shared = snapshot("rw-s");
        add(&mut shared, |_| entries(&[1], 1..3));
        for seen in [private, shared] {
            assert_eq!(seen.pages, snapshot("rw-s").pages);
        }
    }
}
