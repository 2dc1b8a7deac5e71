//! What the kernel itself shows: names of maps, permissions, flags.
//!
//! Comes in: a segment. Goes out: its kind; nothing of it is a guess.

use super::{Finding, Place, makers, shape};
use crate::report::{Kind, Segment};

/// Names that programs and libraries give their memory by prctl(PR_SET_VMA_ANON_NAME), from their
/// own sources: how the name begins, and the kind.
const GIVEN: &[(&str, Kind)] = &[
    ("glibc: malloc arena", Kind::MallocArena),
    ("glibc: malloc", Kind::MallocBlock),
    ("glibc: pthread stack", Kind::ThreadStack),
    ("glibc: pthread user stack", Kind::ThreadStack),
    ("stack_and_tls:", Kind::ThreadStack),
    ("libc_malloc", Kind::MallocArena),
    ("scudo:", Kind::MallocArena),
    ("jemalloc", Kind::MallocArena),
    ("tcmalloc", Kind::MallocArena),
    ("partition_alloc", Kind::MallocArena),
    ("mimalloc", Kind::MallocArena),
    ("cpython:pymalloc", Kind::Pymalloc),
    ("cpython:jit", Kind::JitCode),
    ("cpython:perf", Kind::JitCode),
    ("Go: heap", Kind::GoArena),
    ("dalvik-main space", Kind::JavaHeap),
    ("dalvik-jit", Kind::JitCode),
    ("v8", Kind::V8Space),
    (".bss", Kind::Bss),
];

/// The kind of what has a name or flags of its own.
pub(super) fn of_name(place: &Place<'_>, at: usize) -> Option<Finding> {
    let segment = place.segment(at);
    let name = segment.name.as_str();
    let bare = name.strip_suffix(" (deleted)").unwrap_or(name);
    if has_flag(segment, "ht") || bare.starts_with("/anon_hugepage") {
        return Some(Finding::sure(Kind::Huge));
    }
    let kind = match name {
        "[heap]" => Kind::Heap,
        "[stack]" => Kind::Stack,
        "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]" | "[vectors]" | "[sigpage]"
        | "[uprobes]" => Kind::Vdso,
        _ if name.starts_with("[stack:") => Kind::ThreadStack,
        _ if name.starts_with("anon_inode:") || has_flag(segment, "io") => Kind::Device,
        _ => {
            if let Some(given) = name.strip_prefix("[anon:") {
                return Some(given_name(place, at, given.strip_suffix(']').unwrap_or(given)));
            }
            return shared(place, at, bare);
        }
    };
    Some(Finding::sure(kind))
}

/// A name that the program gave is the name to show; a rule knows what kind of memory it is.
fn given_name(place: &Place<'_>, at: usize, given: &str) -> Finding {
    let rule = GIVEN.iter().find(|(prefix, _)| given.trim_start().starts_with(prefix));
    match rule.map(|(_, kind)| *kind) {
        Some(Kind::ThreadStack) => {
            let tid = given.rsplit(':').next().and_then(|tid| tid.trim().parse().ok());
            tid.map_or_else(|| shape::thread_stack(place, at), |tid| shape::stack_of(place, tid))
        }
        Some(kind) => Finding::sure(kind).named(place.segment(at).name.clone()),
        None => Finding::sure(Kind::Anonymous),
    }
}

/// Shared memory, which has the name of a file that nobody opens by it.
fn shared(place: &Place<'_>, at: usize, bare: &str) -> Option<Finding> {
    let segment = place.segment(at);
    let (kind, name) = if let Some(name) = bare.strip_prefix("/memfd:") {
        (Kind::Memfd, format!("memfd {name}"))
    } else if let Some(key) = bare.strip_prefix("/SYSV") {
        (Kind::SharedMemory, format!("SysV 0x{key}"))
    } else if segment.name.starts_with("[anon_shmem") {
        return Some(Finding::sure(Kind::SharedMemory));
    } else if bare == "/dev/zero" && segment.perms.ends_with('s') {
        (Kind::SharedMemory, "shared memory".to_owned())
    } else if bare.starts_with("/dev/shm/") {
        return Some(Finding::sure(Kind::SharedMemory));
    } else if bare == "/dev/zero" {
        return Some(Finding::sure(Kind::Anonymous));
    } else if bare.starts_with("/dev/") {
        return Some(Finding::sure(Kind::Device));
    } else {
        return None;
    };
    let label = match makers::maker(place.made_by(at)) {
        Some(maker) => format!("[{name}, by {maker}]"),
        None => format!("[{name}]"),
    };
    Some(Finding::sure(kind).named(label))
}

/// The kind of pages of a file, by what may be done with them.
pub(super) fn of_file(segment: &Segment) -> Finding {
    let may = |what: char| segment.perms.contains(what);
    let private = segment.perms.ends_with('p');
    Finding::sure(if may('x') {
        Kind::FileCode
    } else if may('w') {
        if private { Kind::FileData } else { Kind::FileShared }
    } else if !may('r') {
        Kind::NoAccess
    } else if private && was_writable(segment) {
        Kind::Relro
    } else {
        Kind::FileReadOnly
    })
}

/// Private memory that could be written once is charged for (`VM_ACCOUNT`, "ac"), also when it
/// may only be read since; without flags, private copies tell.
fn was_writable(segment: &Segment) -> bool {
    if segment.vm_flags.is_empty() {
        return segment.dirty_bytes.after > 0 && segment.breakdown.anonymous_bytes > Some(0);
    }
    has_flag(segment, "ac")
}

fn has_flag(segment: &Segment, flag: &str) -> bool {
    segment.vm_flags.split(' ').any(|set| set == flag)
}
