//! What kind of memory a segment is, in one word or two.
//!
//! Comes in: a segment as maps shows it. Goes out: its kind, and the name that a reader knows.

use crate::report::Segment;

use super::names;

/// The kind of a segment by its name and permissions.
#[must_use]
pub fn kind(segment: &Segment) -> &'static str {
    let name = segment.name.as_str();
    let shared = segment.perms.ends_with('s');
    match name {
        "[heap]" => "heap",
        "[stack]" => "stack",
        "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]" => "vdso",
        "" => "anonymous",
        _ if name.starts_with("[stack:") => "thread stack",
        _ if name.starts_with("[anon:") || name.starts_with('[') => "anonymous",
        _ if name.starts_with("/memfd:")
            || name.starts_with("/SYSV")
            || name.starts_with("/dev/shm/")
            || name.starts_with("[anon_shmem")
            || (shared && name.starts_with("/dev/zero")) =>
        {
            "shared memory"
        }
        _ if segment.perms.contains('x') => "file code",
        _ if shared => "shared file",
        _ if segment.perms.contains('w') => "file data",
        _ => "file read-only",
    }
}

/// The name that tells a segment from others of its kind: `[anon]` where maps shows none.
#[must_use]
pub fn name(segment: &Segment) -> &str {
    if segment.name.is_empty() { "[anon]" } else { &segment.name }
}

/// The same in few letters: the last part of a path.
#[must_use]
pub fn short_name(segment: &Segment) -> &str {
    names::base(name(segment))
}

/// Whether the segment is a part of a file, the program's or a library's.
#[must_use]
pub fn is_file(segment: &Segment) -> bool {
    segment.name.starts_with('/') && kind(segment) != "shared memory"
}
