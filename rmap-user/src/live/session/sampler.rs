//! Draws pages of a watched process and protects them, at a bounded rate.
//!
//! Comes in: the pages that are there, mapping by mapping. Goes out: pages that were drawn and
//! protected, each with the time.
//!
//! Half of the draws are shared out by pages, half to each mapping alike, so that small mappings are
//! known too. Within a mapping all pages have the same chance, and none is drawn twice before the
//! pages are looked at again. A mapping with few pages is drawn over the whole time between two
//! looks, not at once: when a page is protected must not depend on when the program writes.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::rewrites_random::{Permutation, Random};
use crate::live::procfs::monotonic_ns;
use crate::live::rewrite::Watch;

/// Draws a second for the whole of one processor: some 2 µs each, with the fault that follows.
const DRAWS: f64 = 500_000.0;
/// The pages are looked at so often at most, and with so much of the budget.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_SHARE: f64 = 0.25;
/// Draws that have one time.
const BATCH: usize = 64;
const PAGE: u64 = 4096;

/// The pages of a mapping that are there.
struct Stratum {
    runs: Vec<Range<u64>>,
    pages: u64,
    order: Permutation,
    /// Draws that are due, with their fraction.
    due: f64,
}

/// Draws pages of one process.
pub(super) struct Sampler {
    budget: f64,
    random: Random,
    strata: Vec<Stratum>,
    pages: u64,
    next_look: Option<Instant>,
    /// From one look to the next.
    interval: Duration,
    last_draw: Instant,
    stopped: bool,
}

impl Sampler {
    pub(super) fn new(pid: u32, budget: f64) -> Self {
        Self {
            budget,
            random: Random::new(monotonic_ns() ^ u64::from(pid) << 32),
            strata: Vec::new(),
            pages: 0,
            next_look: None,
            interval: LOOK,
            last_draw: Instant::now(),
            stopped: false,
        }
    }

    /// It draws no more.
    pub(super) fn stop(self) -> Self {
        Self { stopped: true, ..self }
    }

    /// Whether the pages are to be looked at again.
    pub(super) fn wants_pages(&self) -> bool {
        !self.stopped && self.next_look.is_none_or(|next| Instant::now() >= next)
    }

    /// Takes the pages that are there, by mapping, and how long it took to find them.
    pub(super) fn take_pages(&mut self, present: &[Vec<Range<u64>>], took: Duration) {
        self.interval = took.div_f64((self.budget * LOOK_SHARE).max(1e-6)).max(LOOK);
        self.next_look = Instant::now().checked_add(self.interval);
        self.strata = present
            .iter()
            .filter(|runs| !runs.is_empty())
            .map(|runs| {
                let pages = runs.iter().map(|run| (run.end - run.start) / PAGE).sum();
                let order = Permutation::new(pages, &mut self.random);
                Stratum { runs: runs.clone(), pages, order, due: self.random.unit() }
            })
            .collect();
        self.pages = self.strata.iter().map(|stratum| stratum.pages).sum();
    }

    /// Draws as many pages as are due.
    pub(super) fn draw(&mut self, watch: &Watch, mut drawn: impl FnMut(u64, Vec<u64>)) {
        let since = self.last_draw.elapsed().min(Duration::from_millis(200));
        self.last_draw = Instant::now();
        if self.stopped || self.pages == 0 {
            return;
        }
        let draws = DRAWS * self.budget * since.as_secs_f64();
        let each = draws / 2.0 / self.strata.len() as f64;
        let interval = self.interval.as_secs_f64();
        let mut batch = Vec::new();
        let mut time_ns = monotonic_ns();
        for stratum in &mut self.strata {
            let all = stratum.pages as f64;
            let share = draws / 2.0 * all / self.pages as f64 + each;
            stratum.due += share.min(all * since.as_secs_f64() / interval);
            while stratum.due >= 1.0 {
                stratum.due -= 1.0;
                let Some(page) = stratum.order.next().and_then(|number| at(&stratum.runs, number))
                else {
                    break;
                };
                if watch.protect(&(page..page + PAGE)) {
                    batch.push(page);
                }
                if batch.len() >= BATCH {
                    drawn(time_ns, std::mem::take(&mut batch));
                    time_ns = monotonic_ns();
                }
            }
        }
        if !batch.is_empty() {
            drawn(time_ns, batch);
        }
    }
}

/// The page with a number among those of runs.
fn at(runs: &[Range<u64>], number: u64) -> Option<u64> {
    let mut rest = number;
    for run in runs {
        let pages = (run.end - run.start) / PAGE;
        if rest < pages {
            return Some(run.start + rest * PAGE);
        }
        rest -= pages;
    }
    None
}
