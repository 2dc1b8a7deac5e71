//! Notices when rmap itself does not run: stopped by a signal, or given no processor.
//!
//! Comes in: the clock. Goes out: for how long in all. What is traced runs on meanwhile, except for
//! threads that stand where they made a thread or a process, executed a program or end, until rmap
//! has looked.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

/// How often it is looked.
const BEAT: Duration = Duration::from_millis(200);
/// A busy machine lets a thread wait for so long.
const USUAL: Duration = Duration::from_secs(1);

/// A thread that does nothing but look at the clock.
pub(super) struct Pulse {
    missed_ns: Arc<AtomicU64>,
    /// Its end ends the thread.
    _alive: Sender<()>,
}

impl Pulse {
    /// Looks from now on.
    pub(super) fn start() -> io::Result<Self> {
        let missed_ns = Arc::new(AtomicU64::new(0));
        let (alive, gone) = mpsc::channel::<()>();
        let sum = Arc::clone(&missed_ns);
        thread::Builder::new().name("rmap-pulse".to_owned()).spawn(move || {
            loop {
                let before = Instant::now();
                if gone.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let late = before.elapsed().saturating_sub(BEAT);
                if late > USUAL {
                    let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
                    sum.fetch_add(late, Ordering::Relaxed);
                }
            }
        })?;
        Ok(Self { missed_ns, _alive: alive })
    }

    /// What it means for the report that rmap did not run; `None` if it always did.
    pub(super) fn trouble(&self) -> Option<String> {
        let missed = Duration::from_nanos(self.missed_ns.load(Ordering::Relaxed));
        (!missed.is_zero()).then(|| {
            format!(
                "rmap itself did not run for {:.1} s (it was stopped, or had no processor); \
                 what made threads or processes, executed programs or ended in that time waited for it",
                missed.as_secs_f64()
            )
        })
    }
}
