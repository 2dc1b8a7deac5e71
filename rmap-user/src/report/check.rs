//! The identity that a report must fulfil: what the code paths explain plus what is unexplained
//! equals what smaps shows, to the byte, for every segment.

use super::{Address, Report};

/// A segment of which the parts do not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "process {pid}, segment {segment}: paths and unexplained add up to {parts} bytes of {of}, \
     smaps shows {whole}"
)]
pub struct IdentityError {
    /// The process.
    pub pid: u32,
    /// The segment's start.
    pub segment: Address,
    /// `rss` or `dirty`.
    pub of: &'static str,
    /// Σ paths + Σ unexplained.
    pub parts: i128,
    /// What smaps shows.
    pub whole: u64,
}

/// Checks the identity for every segment of every process.
///
/// # Errors
/// The first segment of which the parts do not add up.
pub fn check_identity(report: &Report) -> Result<(), IdentityError> {
    for process in &report.processes {
        for segment in &process.segments {
            let rss = segment.paths.iter().map(|p| i128::from(p.rss_bytes)).sum::<i128>()
                + segment.unexplained.iter().map(|u| i128::from(u.rss_bytes)).sum::<i128>();
            let dirty = segment.paths.iter().map(|p| i128::from(p.dirty_bytes)).sum::<i128>()
                + segment.unexplained.iter().map(|u| i128::from(u.dirty_bytes)).sum::<i128>();
            for (of, parts, whole) in
                [("rss", rss, segment.rss_bytes.after), ("dirty", dirty, segment.dirty_bytes.after)]
            {
                if parts != i128::from(whole) {
                    return Err(IdentityError {
                        pid: process.pid,
                        segment: segment.start,
                        of,
                        parts,
                        whole,
                    });
                }
            }
        }
    }
    Ok(())
}
