//! The state of an address space between two snapshots, by events alone.
//!
//! Comes in: an [`AddressSpace`], and the segments that the last snapshot showed. Goes out: a
//! [`Snapshot`] such as the kernel would show of what the model knows: its mappings, and the pages that
//! have owners. What the last snapshot showed and no call path explains is carried over by
//! [`carry`] as `between-snapshots`.

use std::ops::Range;

use rustc_hash::FxHashMap;

use super::segment::{Residual, Segment as Attributed};
use crate::model::{AddressSpace, Call, Owner, PAGE, Vma};
use crate::terms::Reason;
use crate::trace::{FileId, Moment, PageKind, PageRun, PageState, Segment, Snapshot, VmFlags};

/// The state as a snapshot. `known`: the segments of the last snapshot, by address; `files`: names of
/// files.
#[must_use]
pub fn by_events(
    space: &AddressSpace,
    known: &[Segment],
    files: &FxHashMap<FileId, String>,
    pid: u32,
    time_ns: u64,
) -> Snapshot {
    let mut segments: Vec<Segment> = Vec::new();
    let mut pages: Vec<PageRun> = Vec::new();
    for (range, vma) in space.mappings().vmas().iter() {
        for piece in pieces(known, range.clone()) {
            let segment = segment_of(known, files, &piece, vma);
            match segments.last_mut() {
                Some(last) if joins(last, &segment) => last.end = segment.end,
                _ => segments.push(segment),
            }
        }
    }
    for segment in &mut segments {
        add_pages(space, segment, &mut pages);
    }
    Snapshot {
        time_ns,
        pid,
        moment: Moment::Live,
        segments,
        pages: Some(pages),
        folios: Vec::new(),
        peak_rss: 0,
        threads: Vec::new(),
    }
}

/// Adds to segments what the last snapshot showed of them and nobody explained, as `between-snapshots`:
/// it is still there as far as anybody knows.
pub fn carry(segments: &mut [Attributed], last: &[Attributed]) {
    for segment in segments {
        let shown = &mut segment.shown;
        let Some(before) = last.iter().find(|before| before.shown.start == shown.start) else {
            continue;
        };
        let owned = [Reason::BeforeAttach, Reason::Stranger];
        let rest = before.residuals.iter().filter(|rest| !owned.contains(&rest.reason));
        let (rss, dirty) = rest
            .fold((0, 0), |(rss, dirty), rest| (rss + rest.rss.max(0), dirty + rest.dirty.max(0)));
        let room = i64::try_from(shown.size().saturating_sub(shown.rss)).unwrap_or(i64::MAX);
        let (rss, dirty) = (rss.min(room), dirty.min(room));
        if (rss, dirty) == (0, 0) {
            continue;
        }
        shown.rss += rss.unsigned_abs();
        shown.dirty += dirty.unsigned_abs();
        let (reason, candidates) = (Reason::BetweenSnapshots, Vec::new());
        segment.residuals.push(Residual { reason, rss, dirty, candidates });
    }
}

/// A range cut where known segments begin and end.
fn pieces(known: &[Segment], range: Range<u64>) -> Vec<Range<u64>> {
    let first = known.partition_point(|segment| segment.end <= range.start);
    let mut cuts = vec![range.start];
    for segment in known[first..].iter().take_while(|segment| segment.start < range.end) {
        cuts.extend([segment.start, segment.end].iter().filter(|at| range.contains(*at)));
    }
    cuts.push(range.end);
    cuts.sort_unstable();
    cuts.dedup();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// What is mapped there: as the last snapshot showed it, or by the call that mapped it since.
fn segment_of(
    known: &[Segment],
    files: &FxHashMap<FileId, String>,
    piece: &Range<u64>,
    vma: &Vma,
) -> Segment {
    let letter = |bit: u8, letter: char| if vma.prot & bit != 0 { letter } else { '-' };
    let kind = if vma.shared { 's' } else { 'p' };
    let perms = [letter(1, 'r'), letter(2, 'w'), letter(4, 'x'), kind].iter().collect();
    let at = known.partition_point(|segment| segment.end <= piece.start);
    let same = known.get(at).filter(|segment| {
        segment.start <= piece.start
            && segment.has_file() == vma.file
            && segment.is_private() != vma.shared
    });
    let name = match (vma.origin.call, vma.grows_down) {
        (_, true) => "[stack]",
        (Call::Brk, _) => "[heap]",
        _ => vma.id.and_then(|id| files.get(&id)).map_or("", String::as_str),
    };
    let base = same.map_or_else(
        || Segment {
            offset: if vma.file { piece.start.wrapping_sub(vma.base) } else { 0 },
            device: vma.id.map_or((0, 0), |id| id.device),
            inode: vma.id.map_or(0, |id| id.inode),
            name: name.to_owned(),
            ..Segment::default()
        },
        |same| Segment {
            offset: same.offset + if same.has_file() { piece.start - same.start } else { 0 },
            device: same.device,
            inode: same.inode,
            name: same.name.clone(),
            vm_flags: VmFlags::parse(same.vm_flags.as_str()),
            ..Segment::default()
        },
    );
    Segment { start: piece.start, end: piece.end, perms, ..base }
}

/// Whether the kernel would show two neighbours as one.
fn joins(last: &Segment, next: &Segment) -> bool {
    let of = |segment: &Segment| (segment.perms.clone(), segment.inode, segment.device);
    let goes_on = !next.has_file() || last.offset + last.size() == next.offset;
    last.end == next.start && of(last) == of(next) && last.name == next.name && goes_on
}

/// Adds the pages of a segment that have owners, and its sizes by them.
fn add_pages(space: &AddressSpace, segment: &mut Segment, pages: &mut Vec<PageRun>) {
    let (start, end) = (segment.start, segment.end);
    let private = segment.is_private();
    let has_file = segment.has_file();
    let (mut rss, mut dirty, mut anonymous) = (0, 0, 0);
    space.owners().walk(start..end, |range, owner: Owner| {
        if owner.resident.is_none() {
            return;
        }
        let bytes = (range.end - range.start) / PAGE * PAGE;
        let cached = space.paths().get(owner.dirty).is_none_or(|path| path.cause.maps_page_cache());
        let copy = private && (!has_file || owner.dirty.is_some() && !cached);
        rss += bytes;
        dirty += if owner.dirty.is_some() { bytes } else { 0 };
        anonymous += if copy { bytes } else { 0 };
        let kind = PageKind {
            state: if copy { PageState::Anonymous } else { PageState::File },
            huge: false,
            folio_dirty: (!copy).then_some(owner.dirty.is_some()),
            large_folio: None,
            entry_dirty: None,
        };
        match pages.last_mut() {
            Some(last) if last.range.end == range.start && last.kind == kind => {
                last.range.end = range.end;
            }
            _ => pages.push(PageRun { range, kind }),
        }
    });
    (segment.rss, segment.dirty, segment.anonymous) = (rss, dirty, anonymous);
}
