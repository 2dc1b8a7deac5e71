//! How the process's heap gives memory back. No data goes through here.

/// Blocks from this size on are mappings of their own.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 1 << 20;

/// Has large blocks given back to the system as soon as they are freed.
///
/// glibc does so only until the first of them is freed: from then on blocks of that size come from
/// the heap (`mallopt(3)`, `M_MMAP_THRESHOLD`). The kernel's type information, which is read at the
/// start of a session, would leave a hole of its size in there: a fifth of what rmap takes for a
/// small command.
pub(super) fn return_large() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator's. It may be called at any time, by glibc's manual.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
