//! Counters of resident pages on kernels before 6.2, which gather single pages in the task and
//! add them to the address space later (`SPLIT_RSS_COUNTING`, kernel `mm/memory.c`): `rss_stat`
//! does not tell there what a fault did.
//!
//! The task's own counts do, and they are free of races: what they hold at the end of a fault and
//! did not at its entry is this fault's. Huge pages go past them, with an `rss_stat` of their own.

use aya_ebpf::{bindings::BPF_F_NO_PREALLOC, macros::map, maps::HashMap};
use rmap_ebpf::logic::batch::{self, Counts};

use crate::{config, kernel};

/// The counts of each traced thread at the entry of its fault, by thread id.
#[map]
static BATCHES: HashMap<u32, Counts> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Whether this kernel gathers.
#[inline(always)]
pub fn gathers() -> bool {
    config::TASK_RSS_STAT.load() != 0
}

#[inline(always)]
fn counts() -> Option<Counts> {
    kernel::read(kernel::current() as u64, config::TASK_RSS_STAT.load())
}

/// A fault of this thread starts.
#[inline(always)]
pub fn open(tid: u32) {
    if gathers()
        && let Some(counts) = counts()
    {
        let _ = BATCHES.insert(&tid, &counts, 0);
    }
}

/// The counters that the fault moved without an `rss_stat`, one bit each.
#[inline(always)]
pub fn moved(tid: u32) -> u32 {
    if !gathers() {
        return 0;
    }
    // SAFETY: only programs that run in this very thread write its entry.
    match (unsafe { BATCHES.get(&tid) }, counts()) {
        (Some(before), Some(after)) => batch::moved(before, &after),
        _ => 0,
    }
}

/// Whether an `rss_stat` of this thread only tells what it had gathered before.
#[inline(always)]
pub fn flushes() -> bool {
    gathers() && counts().is_some_and(|counts| batch::flushes(&counts))
}

/// The thread has ended.
#[inline(always)]
pub fn forget(tid: u32) {
    if gathers() {
        let _ = BATCHES.remove(&tid);
    }
}
