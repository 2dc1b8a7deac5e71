//! `--until`: ends a session when what it traces holds too much.
//!
//! Comes in: a condition, and the processes that run. Goes out: when to look next, and how much there is
//! when the condition holds. RSS is the kernel's (`/proc/PID/statm`), Dirty the model's. A look may cost a
//! hundredth of the time at most.

use std::fs;
use std::time::{Duration, Instant};

use tokio::time;

use super::Error;
use crate::live::memory_group::MemoryGroup;

/// The rest between two looks, at least.
const REST: Duration = Duration::from_millis(10);
/// And so many times what the last one took.
const TIMES: u32 = 100;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// RSS of all processes together.
    Rss,
    /// Dirty of all processes together, by the events.
    Dirty,
}

/// When a session is to end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Until {
    /// What is counted.
    pub figure: Figure,
    /// It is to be more than this.
    pub above: Above,
}

/// How much is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Above {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the limit of the processes' control group.
    Percent(f64),
}

/// Looks again and again.
#[derive(Debug)]
pub(super) struct Watch {
    figure: Figure,
    above: u64,
    next: time::Instant,
}

impl Watch {
    /// Looks at processes of which this is one.
    ///
    /// # Errors
    /// Nothing limits the memory that a share is asked of.
    pub(super) fn of(until: Until, pid: u32) -> Result<Self, Error> {
        let above = match until.above {
            Above::Bytes(bytes) => bytes,
            Above::Percent(percent) => {
                let limit = MemoryGroup::of(pid).and_then(|group| group.limit()).ok_or_else(|| {
                    let why = "no control group limits its memory, so a share of the limit is none: \
                               give --until a size, such as rss>2G";
                    Error::Obstacle(why.to_owned())
                })?;
                (limit as f64 * percent / 100.0) as u64
            }
        };
        Ok(Self { figure: until.figure, above, next: time::Instant::now() })
    }

    /// Whether what the events say counts.
    pub(super) fn needs_events(&self) -> bool {
        self.figure == Figure::Dirty
    }

    /// When to look next.
    pub(super) const fn next(&self) -> time::Instant {
        self.next
    }

    /// Looks; gives back what there is, in bytes, if it is too much. `dirty`: bytes by the model.
    pub(super) fn look(
        &mut self,
        pids: impl Iterator<Item = u32>,
        dirty: impl FnOnce() -> u64,
    ) -> Option<u64> {
        let begun = Instant::now();
        let held = match self.figure {
            Figure::Rss => pids.filter_map(resident).sum(),
            Figure::Dirty => dirty(),
        };
        self.next = time::Instant::now() + REST.max(begun.elapsed() * TIMES);
        (held > self.above).then_some(held)
    }

    /// What was asked for, in words.
    pub(super) fn words(&self, held: u64) -> String {
        let figure = match self.figure {
            Figure::Rss => "RSS",
            Figure::Dirty => "Dirty",
        };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        format!(
            "--until: {figure} was {:.1} MiB, more than {:.1} MiB; the processes go on untraced.",
            mib(held),
            mib(self.above)
        )
    }
}

/// RSS of a process in bytes, by the second number of `statm` (`proc_pid_statm(5)`).
fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * crate::model::PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_held_against_the_limit() {
        let pid = std::process::id();
        let watch =
            |figure, bytes| Watch::of(Until { figure, above: Above::Bytes(bytes) }, pid).unwrap();
        assert!(watch(Figure::Rss, 4096).look([pid].into_iter(), || 0).is_some());
        assert_eq!(watch(Figure::Rss, 1 << 50).look([pid].into_iter(), || 0), None);
        assert_eq!(watch(Figure::Dirty, 9).look(std::iter::empty(), || 10), Some(10));
        let mut one = watch(Figure::Dirty, 1 << 20);
        let begun = time::Instant::now();
        one.look(std::iter::empty(), || 2 << 20);
        assert!(one.next() >= begun + REST);
        assert!(one.words(2 << 20).contains("Dirty was 2.0 MiB, more than 1.0 MiB"));
    }
}
