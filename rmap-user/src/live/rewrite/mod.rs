//! Write-protects a process's memory, to see who writes to it again.
//!
//! Comes in: a userfaultfd of the process's memory, which `ptrace` took out of it. Goes out: which
//! pages were written since they were protected, and which memory is watched at all. The faults
//! themselves come from the probes.
//!
//! The protection is asynchronous (`UFFD_FEATURE_WP_ASYNC`, since Linux 6.7): the kernel answers the
//! first write to a page by itself, in the one fault that the write takes. When the descriptor is
//! closed, be it by the end of rmap, all protection is gone.
//!
//! * `userfault`: the descriptor's own calls; `scan`: `PAGEMAP_SCAN`;
//! * `mappings`: what may be watched; `watch`: one process.

mod mappings;
mod scan;
mod userfault;
mod watch;

pub use watch::Watch;

/// Whether this kernel can protect memory asynchronously; else why not, and what to do.
///
/// # Errors
/// One line.
pub fn available() -> Result<(), String> {
    userfault::available().map_err(|why| {
        format!("{why}; asynchronous write-protection by userfaultfd came with Linux 6.7")
    })
}
