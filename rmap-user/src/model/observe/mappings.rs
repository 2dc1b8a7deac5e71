//! What a snapshot shows of mappings that no event told of: those of exec, stacks that grew, the
//! vdso, and all that was there before tracing began.

use std::ops::Range;

use crate::model::{Actor, AddressSpace, Call, InstanceId, Origin, Vma};
use crate::trace::FileId;
use crate::trace::{Moment, Segment, Snapshot};

/// Adds the mappings that the model does not know yet. Where the process was just made, what the
/// snapshot does not show is taken out too.
pub(super) fn sync_mappings(space: &mut AddressSpace, snapshot: &Snapshot) {
    let origin = origin(space, snapshot);
    space.all_went_well();
    let doubtful = snapshot.moment.stands() && !space.doubts.is_empty();
    let born = matches!(snapshot.moment, Moment::Forked | Moment::Executed);
    if born || doubtful || space.calls_lost {
        let mut at = 0;
        for segment in &snapshot.segments {
            space.mappings.unmap(at..segment.start.max(at));
            at = segment.end;
        }
    }
    if std::mem::take(&mut space.calls_lost) {
        unlearn(space, snapshot);
    }
    for segment in &snapshot.segments {
        for gap in space.mappings.vmas().gaps(segment.start..segment.end) {
            learn_gap(space, segment, gap, origin);
        }
        if snapshot.moment.stands() {
            correct(space, segment);
        }
        if space.brk.is_none() && segment.name == "[heap]" {
            space.brk = Some(segment.end);
        }
    }
}

/// Takes out the mappings that are not what the snapshot shows in their place: the calls that made
/// it so were lost.
fn unlearn(space: &mut AddressSpace, snapshot: &Snapshot) {
    for segment in &snapshot.segments {
        let differs = |vma: &Vma| {
            vma.shared == segment.is_private() || (vma.file && !segment.has_file() && !vma.shared)
        };
        let vmas = space.mappings.vmas().within(segment.start..segment.end);
        let wrong: Vec<_> = vmas.filter(|(_, vma)| differs(vma)).map(|(range, _)| range).collect();
        for range in wrong {
            space.mappings.unmap(range);
        }
    }
    // The end of the heap is where the snapshot shows it.
    space.brk = None;
}

/// Takes over what is shown of mappings that are known: calls that failed may have changed some.
fn correct(space: &mut AddressSpace, segment: &Segment) {
    let range = segment.start..segment.end;
    let prot = prot(segment);
    let vmas = space.mappings.vmas().within(range.clone());
    let others: Vec<_> = vmas.filter(|(_, vma)| vma.prot != prot).map(|(piece, _)| piece).collect();
    for piece in others {
        space.mappings.protect(piece, prot);
    }
    // A snapshot without flags says nothing of locks.
    if !segment.vm_flags.as_str().is_empty() {
        space.locks.show(range, segment.vm_flags.has("lo"));
    }
}

fn prot(segment: &Segment) -> u8 {
    let bit = |at: usize, letter: u8, bit: u8| {
        if segment.perms.as_bytes().get(at) == Some(&letter) { bit } else { 0 }
    };
    bit(0, b'r', 1) | bit(1, b'w', 2) | bit(2, b'x', 4)
}

fn learn_gap(space: &mut AddressSpace, segment: &Segment, gap: Range<u64>, origin: Origin) {
    let vmas = space.mappings.vmas();
    // A stack grew with no fault that was seen; SysV memory is known by its first page only.
    let above = vmas.find(gap.end).filter(|(range, vma)| {
        range.start == gap.end && range.start < segment.end && vma.grows_down
    });
    let below = vmas.last_below(gap.start).filter(|(range, vma)| {
        range.end == gap.start && range.start >= segment.start && vma.origin.call == Call::Shmat
    });
    if let Some(vma) = above.or(below).map(|(_, vma)| *vma) {
        space.mappings.map(gap, vma);
        return;
    }
    let stack = segment.name == "[stack]";
    let call = match (origin.call, segment.name.as_str()) {
        (Call::Exec | Call::Unknown, "[stack]") => Call::Stack,
        (Call::Unknown, "[heap]") => Call::Brk,
        (call, _) => call,
    };
    let vma = Vma {
        instance: InstanceId::UNKNOWN,
        origin: Origin { call, ..origin },
        file: segment.has_file(),
        shared: !segment.is_private(),
        grows_down: stack || segment.vm_flags.has("gd"),
        inherited: origin.call == Call::Fork,
        prot: prot(segment),
        base: if segment.has_file() { segment.start.wrapping_sub(segment.offset) } else { 0 },
        id: file_of(segment),
    };
    space.learn(gap, vma);
}

/// The file of a segment, or the shared memory.
pub(super) fn file_of(segment: &Segment) -> Option<FileId> {
    segment.has_file().then_some(FileId { device: segment.device, inode: segment.inode })
}

/// By whom mappings were made that nobody told of.
fn origin(space: &AddressSpace, snapshot: &Snapshot) -> Origin {
    let nobody = Actor { pid: snapshot.pid, tid: 0, time_ns: snapshot.time_ns, stack: None };
    match (snapshot.moment, space.fresh_exec, space.fork_path) {
        (Moment::Start | Moment::StartRunning, ..) => Origin { call: Call::Unknown, actor: nobody },
        (_, Some(actor), _) => Origin { call: Call::Exec, actor },
        (Moment::Executed, None, _) => {
            Origin { call: Call::Exec, actor: Actor { tid: snapshot.pid, ..nobody } }
        }
        (Moment::Forked, None, Some((_, actor))) => Origin { call: Call::Fork, actor },
        _ => Origin { call: Call::Unknown, actor: nobody },
    }
}
