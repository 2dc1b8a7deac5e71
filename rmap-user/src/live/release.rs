//! What follows from the kernel's release alone, where nothing else tells.
//!
//! Comes in: `uname`. Goes out: answers.

use std::sync::LazyLock;

/// Whether this kernel runs programs at raw tracepoints with preemption on: since 7.0 (kernel commit
/// f7d327654b88). One that is not understood is taken for such.
#[must_use]
pub fn may_be_preempted() -> bool {
    LEFT_OUT.is_some() || RUNNING.is_none_or(|version| version >= (7, 0))
}

/// Whether a test wants rmap to do without a program, as if the kernel left it out each time because it
/// is put aside: `RMAP_TEST_LEFT_OUT`, in debug builds only.
#[must_use]
pub fn is_left_out(program: &str) -> bool {
    LEFT_OUT.as_ref().is_some_and(|programs| programs.split(',').any(|name| name == program))
}

/// Debug builds only: the programs named in `RMAP_TEST_LEFT_OUT`, with commas between. If it is set, even
/// to nothing, rmap takes the kernel for one that puts programs aside.
static LEFT_OUT: LazyLock<Option<String>> = LazyLock::new(|| {
    if cfg!(debug_assertions) { std::env::var("RMAP_TEST_LEFT_OUT").ok() } else { None }
});

/// Whether a fault maps large folios of files as a whole where they lie in one VMA and one page
/// table: since 6.18 (`filemap_map_folio_range` and `finish_fault` of the kernel).
#[must_use]
pub fn maps_whole_folios() -> bool {
    RUNNING.is_some_and(|version| version >= (6, 18))
}

/// The kernel that runs.
static RUNNING: LazyLock<Option<(u32, u32)>> =
    LazyLock::new(|| version(&nix::sys::utsname::uname().ok()?.release().to_string_lossy()));

/// Major and minor of a release, if they are understood.
#[must_use]
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
