//! Pages of files and of shared memory that are dirty, and that nobody made so through this
//! mapping: whoever wrote the file, or the same memory elsewhere, is responsible for them.

use super::mappings::file_of;
use crate::model::{AddressSpace, By, Files, PathId};
use crate::trace::FileId;
use crate::trace::pages::{is_resident, within};
use crate::trace::{PageState, Segment, Snapshot};

/// Learns which files are mapped where no call has told, and lets others know who wrote there.
pub(super) fn share_writers(space: &mut AddressSpace, files: &mut Files, snapshot: &Snapshot) {
    for segment in &snapshot.segments {
        let Some(id) = file_of(segment) else { continue };
        for (place, vma) in space.mappings.identify(segment.start..segment.end, id) {
            if !vma.shared {
                continue;
            }
            space.owners.walk(place, |run, owner| {
                let Some(path) = space.paths.get(owner.dirty) else { return };
                let bytes = run.start.wrapping_sub(vma.base)..run.end.wrapping_sub(vma.base);
                let stats = space.mappings.stats(vma.instance).find(|(of, _)| *of == owner.dirty);
                let at = stats.map_or((0, snapshot.time_ns), |(_, stats)| {
                    (stats.tids.first().copied().unwrap_or(0), stats.last_ns)
                });
                files.write_unknown(id, bytes, By::Traced(path.stack), path.cause, at);
            });
        }
    }
}

/// Gives dirty pages that have no owner to who wrote the file.
pub(super) fn claim_written(space: &mut AddressSpace, files: &Files, snapshot: &Snapshot) {
    let Some(pages) = &snapshot.pages else { return };
    if snapshot.moment.begins() {
        return;
    }
    for segment in snapshot.segments.iter().filter(|segment| segment.dirty > 0) {
        for (place, vma) in mapped(space, segment) {
            let Some(id) = vma.1 else { continue };
            for (run, kind) in within(pages, place) {
                let dirty = kind.folio_dirty == Some(true);
                if kind.state == PageState::File && dirty && is_resident(kind) {
                    ask_run(space, files, id, run.start..run.end, vma.0);
                }
            }
        }
    }
}

type Place = (std::ops::Range<u64>, (u64, Option<FileId>));

fn mapped(space: &AddressSpace, segment: &Segment) -> Vec<Place> {
    let vmas = space.mappings.vmas().within(segment.start..segment.end);
    vmas.map(|(place, vma)| (place, (vma.base, vma.id))).collect()
}

fn ask_run(
    space: &mut AddressSpace,
    files: &Files,
    id: FileId,
    run: std::ops::Range<u64>,
    base: u64,
) {
    let mut nobodys = Vec::new();
    space.owners.walk_all(run, |part, owner| {
        if owner.dirty.is_none() {
            nobodys.push(part);
        }
    });
    for part in nobodys {
        let bytes = part.start.wrapping_sub(base)..part.end.wrapping_sub(base);
        for (bytes, writer) in files.writers(id, bytes) {
            let place = bytes.start.wrapping_add(base)..bytes.end.wrapping_add(base);
            match writer.by {
                By::Stranger => space.owners.claim(place, None, Some(PathId::STRANGER)),
                By::Traced(stack) => space.claim_dirty(place, stack, &writer),
            }
        }
    }
}
