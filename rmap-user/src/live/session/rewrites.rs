//! Watches the memory of traced processes for writes (`--rewrites`).
//!
//! Comes in: settings, processes as they come and go, descriptors that the tracer took out of them, the
//! ticks of a clock. Goes out: [`RewriteStep`]s for the session.
//!
//! Everything runs on the session's thread. A fault on a page always comes behind the step that
//! protected it, for the ring is not read in between. Whether it comes before or behind the scan that
//! takes the page does not matter.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::sampler::Sampler;
use crate::live::procfs::monotonic_ns;
use crate::live::ptrace::{Descriptor, same_memory};
use crate::live::rewrite::Watch;
use crate::trace::{RewriteStep, Rewrites};

/// How memory is watched for writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RewriteSettings {
    /// Protect every page each period; else draw pages.
    pub exact: bool,
    /// The period; of drawn pages, within which a write counts.
    pub period: Duration,
    /// The share of one processor that drawing may take, with the faults that it causes.
    pub budget: f64,
    /// Protect huge pages too, which splits them.
    pub split_huge: bool,
}

/// How often pages are drawn.
const DRAW: Duration = Duration::from_millis(20);
/// How often a process is stopped in vain, and how long at least between two times.
const TRIES: u32 = 30;
const AGAIN: Duration = Duration::from_millis(200);

/// How far watching a process has come.
enum State {
    /// The tracer was asked for its descriptor.
    Asked { tries: u32, at: Instant },
    /// It is watched.
    Watched(Box<Watched>),
    /// It cannot be.
    Refused,
}

struct Watched {
    watch: Watch,
    /// What the session knows to be watched.
    ranges: Vec<Range<u64>>,
    sampler: Option<Sampler>,
}

/// The watched processes.
pub(super) struct RewriteTracker {
    settings: Option<RewriteSettings>,
    states: BTreeMap<u32, State>,
}

/// What the session is to take, in this order.
pub(super) type Steps = Vec<Rewrites>;

impl RewriteTracker {
    pub(super) const fn new(settings: Option<RewriteSettings>) -> Self {
        Self { settings, states: BTreeMap::new() }
    }

    /// How often [`RewriteTracker::tick`] is to be called; `None`: never.
    pub(super) fn pace(&self) -> Option<Duration> {
        self.settings.map(|settings| if settings.exact { settings.period } else { DRAW })
    }

    /// Processes of which a descriptor is to be asked for now.
    pub(super) fn wanted(&mut self, running: impl Iterator<Item = u32>) -> Vec<u32> {
        if self.settings.is_none() {
            return Vec::new();
        }
        let now = Instant::now();
        let mut wanted = Vec::new();
        for pid in running {
            let shares = !self.states.contains_key(&pid) && self.shares(pid);
            match self.states.get_mut(&pid) {
                Some(State::Asked { at, .. }) if now.duration_since(*at) >= AGAIN => *at = now,
                Some(_) => continue,
                None if shares => {
                    self.states.insert(pid, State::Refused);
                    continue;
                }
                None => {
                    self.states.insert(pid, State::Asked { tries: 0, at: now });
                }
            }
            wanted.push(pid);
        }
        wanted
    }

    /// Whether a process runs in memory that is watched already.
    fn shares(&self, pid: u32) -> bool {
        self.states.keys().any(|other| same_memory(pid, *other) == Some(true))
    }

    /// Takes what the tracer brought. The error is why the process is not watched.
    pub(super) fn taken(
        &mut self,
        pid: u32,
        taken: Descriptor,
        stood: Duration,
    ) -> Result<Steps, String> {
        let Some(settings) = self.settings else { return Ok(Vec::new()) };
        let Some(State::Asked { tries, .. }) = self.states.get_mut(&pid) else {
            return Ok(Vec::new());
        };
        let fd = match taken {
            Descriptor::Taken(fd) => fd,
            Descriptor::NotNow if *tries < TRIES => {
                *tries += 1;
                return Ok(Vec::new());
            }
            Descriptor::NotNow => {
                self.states.insert(pid, State::Refused);
                return Err(
                    "it never stood where rmap could make a call in it, or has no vDSO".to_owned()
                );
            }
            Descriptor::Refused(why) => {
                self.states.insert(pid, State::Refused);
                return Err(why);
            }
        };
        match Watched::begin(pid, fd, settings, stood) {
            Ok((watched, steps)) => {
                self.states.insert(pid, State::Watched(Box::new(watched)));
                Ok(steps)
            }
            Err(error) => {
                self.states.insert(pid, State::Refused);
                Err(format!("its memory cannot be protected ({error})"))
            }
        }
    }

    /// Looks at every watched process.
    pub(super) fn tick(&mut self) -> Steps {
        let mut steps = Vec::new();
        let mut gone = Vec::new();
        for (pid, state) in &mut self.states {
            let State::Watched(watched) = state else { continue };
            if watched.look(*pid, &mut steps).is_err() {
                gone.push(*pid);
            }
        }
        for pid in gone {
            self.states.insert(pid, State::Refused);
        }
        steps
    }

    /// A process ends, or goes on alone: what was written up to now. The watch is to be ended when
    /// nobody waits for it.
    pub(super) fn finish(&mut self, pid: u32) -> (Steps, Option<Watch>) {
        let mut steps = Vec::new();
        match self.states.remove(&pid) {
            Some(State::Watched(mut watched)) => {
                // What was drawn before keeps its word; what is drawn now would be seen by nobody.
                watched.sampler = watched.sampler.take().map(Sampler::stop);
                // One that is gone already has nothing to say.
                let _ = watched.look(pid, &mut steps);
                steps.push(step(pid, RewriteStep::End));
                (steps, Some(watched.watch))
            }
            _ => (steps, None),
        }
    }

    /// The memory of a process was replaced.
    pub(super) fn forget(&mut self, pid: u32) {
        self.states.remove(&pid);
    }
}

impl Watched {
    fn begin(
        pid: u32,
        fd: OwnedFd,
        settings: RewriteSettings,
        stood: Duration,
    ) -> std::io::Result<(Self, Steps)> {
        let watch = Watch::begin(pid, fd, settings.split_huge)?;
        let sampler = (!settings.exact).then(|| Sampler::new(pid, settings.budget));
        let mut watched = Self { watch, ranges: Vec::new(), sampler };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (exact, period_ns) = (settings.exact, nanos(settings.period));
        let mut steps =
            vec![step(pid, RewriteStep::Begin { exact, period_ns, stood_ns: nanos(stood) })];
        watched.look(pid, &mut steps)?;
        Ok((watched, steps))
    }

    /// Registers what is new, and scans or draws.
    fn look(&mut self, pid: u32, steps: &mut Steps) -> std::io::Result<()> {
        let Some(sampler) = &mut self.sampler else {
            self.register(pid, steps)?;
            let written = self.watch.written()?;
            steps.push(step(pid, RewriteStep::Written(written)));
            return Ok(());
        };
        if sampler.wants_pages() {
            let begin = Instant::now();
            self.register(pid, steps)?;
            let present = self.watch.present()?;
            let Some(sampler) = &mut self.sampler else { return Ok(()) };
            sampler.take_pages(&present, begin.elapsed());
            let ranges = present.into_iter().flatten().collect();
            steps.push(step(pid, RewriteStep::Present(ranges)));
        }
        let Some(sampler) = &mut self.sampler else { return Ok(()) };
        sampler.draw(&self.watch, |time_ns, pages| {
            steps.push(Rewrites { pid, time_ns, step: RewriteStep::Armed(pages) });
        });
        Ok(())
    }

    fn register(&mut self, pid: u32, steps: &mut Steps) -> std::io::Result<()> {
        self.watch.register()?;
        let ranges = self.watch.watched();
        if ranges != self.ranges {
            steps.push(step(pid, RewriteStep::Watched(ranges.clone())));
            self.ranges = ranges;
        }
        Ok(())
    }
}

fn step(pid: u32, step: RewriteStep) -> Rewrites {
    Rewrites { pid, time_ns: monotonic_ns(), step }
}
