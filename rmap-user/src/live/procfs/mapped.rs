//! The page frames that a process maps.
//!
//! Comes in: a process. Goes out: the number of each frame, and whether it is one of a file or of shared
//! memory. The kernel's zero page is none of them.

use super::{Error, Task, pagemap, pages, segments};
use crate::trace::PageState;

/// Bytes in a page.
#[must_use]
pub fn page_bytes() -> u64 {
    procfs::page_size()
}

/// Hands each frame to `found`, in the order of the addresses that map it.
///
/// # Errors
/// The process is gone, or may not be read.
pub fn frames(pid: u32, mut found: impl FnMut(u64, bool)) -> Result<(), Error> {
    let task = Task { pid, tid: pid };
    let runs = pages::read(&task, &segments(&task)?)?;
    let file = task.open("pagemap")?;
    let resident = |state| matches!(state, PageState::Anonymous | PageState::File);
    for run in runs.into_iter().filter(|run| resident(run.kind.state)) {
        let of_file = run.kind.state == PageState::File;
        pagemap::entries(&file, run.range, page_bytes(), |_, words| {
            words.iter().filter_map(|word| pagemap::frame(*word)).for_each(|f| found(f, of_file));
            true
        })
        .map_err(|e| task.error("pagemap", e))?;
    }
    Ok(())
}
