//! Keeps rmap's own use of the maps from costing events.
//!
//! While a call of bpf(2) reads or changes a map, the kernel runs no program of a perf event on that
//! processor, lest it meets the map half changed (`bpf_disable_instrumentation`, kernel
//! `include/linux/bpf.h`). A kernel that preempts itself (all from Linux 7.0 on, others as they are
//! configured) may put rmap aside in the middle, and the faults of whoever runs there meanwhile have
//! no end that is told, and are counted nowhere. So rmap's thread takes a realtime priority for the
//! few microseconds of such a call: nobody whom it traces comes in between.
//!
//! Comes in: a map. Goes out: a [`Quiet`] one, of which every use holds an [`Undisturbed`]. Where the
//! priority is refused, the call is made without it.

use std::sync::OnceLock;

/// A map that is used undisturbed.
pub struct Quiet<M>(M);

impl<M> Quiet<M> {
    /// Of a map.
    pub const fn of(map: M) -> Self {
        Self(map)
    }

    /// Reads it.
    pub fn look<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        let _undisturbed = Undisturbed::begin();
        look(&self.0)
    }

    /// Changes it.
    pub fn change<R>(&mut self, change: impl FnOnce(&mut M) -> R) -> R {
        let _undisturbed = Undisturbed::begin();
        change(&mut self.0)
    }

    /// Goes through what may be thousands of entries, undisturbed for each of them and not for all:
    /// others want the processor. `all`: the map's own iterator, which asks the kernel for each one.
    pub fn one_by_one<'a, I: Iterator>(
        &'a self,
        all: impl FnOnce(&'a M) -> I,
    ) -> impl Iterator<Item = I::Item> {
        let mut entries = all(&self.0);
        std::iter::from_fn(move || {
            let _undisturbed = Undisturbed::begin();
            entries.next()
        })
    }
}

/// As long as it is held, its thread is not put aside for ordinary ones.
pub struct Undisturbed {
    /// The policy that the thread had.
    former: Option<libc::c_int>,
}

impl Undisturbed {
    /// Begins, on kernels that need it. A thread that has a realtime priority already keeps it.
    #[must_use]
    pub fn begin() -> Self {
        static NEEDED: OnceLock<bool> = OnceLock::new();
        if !*NEEDED.get_or_init(preempts_itself) {
            return Self { former: None };
        }
        // SAFETY: the call takes a number; 0 is the calling thread.
        let former = unsafe { libc::sched_getscheduler(0) };
        let ordinary = [libc::SCHED_OTHER, libc::SCHED_BATCH, libc::SCHED_IDLE].contains(&former);
        let begun = ordinary && schedule(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, 1);
        Self { former: begun.then_some(former) }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        if let Some(former) = self.former {
            schedule(former, 0);
        }
    }
}

/// Whether the kernel took the policy for the calling thread.
fn schedule(policy: libc::c_int, priority: libc::c_int) -> bool {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters outlive the call; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
}

/// Whether this kernel may put a thread aside that is in a system call. `PREEMPT_DYNAMIC` is taken
/// for such, whatever was chosen at its start.
fn preempts_itself() -> bool {
    let configured = nix::sys::utsname::uname()
        .is_ok_and(|name| name.version().to_str().is_none_or(|text| text.contains("PREEMPT")));
    configured || crate::live::release::may_be_preempted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn afterwards_the_thread_is_as_it_was() {
        // SAFETY: as above.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let held = Undisturbed::begin();
        let within = policy() & !libc::SCHED_RESET_ON_FORK;
        assert_eq!(within, if held.former.is_some() { libc::SCHED_FIFO } else { before });
        drop(held);
        assert_eq!(policy(), before);
    }

    #[test]
    fn a_refused_policy_is_told() {
        assert!(!schedule(libc::SCHED_FIFO, 1000));
    }
}
