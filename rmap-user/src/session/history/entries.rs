//! What happened to a segment, summed up so that it stays short.
//!
//! Comes in: single things, millions of them. Goes out: [`Entry`]s in the order of their beginning.
//! Time is divided into slots; in a slot, things of one kind by one code path are one entry. Where
//! there are too many entries the slots become twice as long. So the sums are always exact, and
//! only the times become coarser.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::model::{MAX_TIDS, StackRef};

/// More entries than this are summed up further.
const MOST: usize = 1024;
/// Slots are this long at first, in nanoseconds.
const FIRST_SLOT: u64 = 1024;
/// And never longer: what is left then are different code paths.
const LAST_SLOT: u64 = 1 << 62;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum What {
    /// Memory was mapped.
    Map,
    /// A mapping became larger.
    Grow,
    /// Memory was unmapped.
    Unmap,
    /// It has another protection.
    Protect,
    /// The process was copied, its pages are shared.
    Fork,
    /// A fault.
    Fault,
    /// A snapshot showed what no fault had told.
    Found,
    /// Pages were given back.
    Free,
    /// Pages were made clean.
    Clean,
    /// Pages moved with their mapping.
    Move,
    /// A snapshot showed that pages had gone, or become clean, with no event.
    Missing,
}

impl What {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Grow => "grow",
            Self::Unmap => "unmap",
            Self::Protect => "protect",
            Self::Fork => "fork",
            Self::Fault => "fault",
            Self::Found => "found",
            Self::Free => "free",
            Self::Clean => "clean",
            Self::Move => "move",
            Self::Missing => "missing",
        }
    }
}

/// What entries of one slot have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kind {
    pub what: What,
    /// The call, the cause, or how.
    pub name: &'static str,
    pub stack: Option<StackRef>,
}

/// How much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Bytes by which RSS, Dirty and what is mapped changed.
    pub rss: i64,
    pub dirty: i64,
    pub mapped: i64,
    /// Bytes that changed hands.
    pub touched: u64,
    /// How many things.
    pub times: u64,
}

impl Sum {
    pub(super) const fn add(&mut self, other: &Self) {
        self.rss += other.rss;
        self.dirty += other.dirty;
        self.mapped += other.mapped;
        self.touched += other.touched;
        self.times += other.times;
    }
}

/// Things of one kind within some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub kind: Kind,
    pub first_ns: u64,
    pub last_ns: u64,
    pub sum: Sum,
    /// From the lowest to the highest address; empty if there is none.
    pub range: Range<u64>,
    /// Sorted.
    pub tids: Vec<u32>,
}

impl Entry {
    fn merge(&mut self, other: &Self) {
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.sum.add(&other.sum);
        if self.range.is_empty() {
            self.range = other.range.clone();
        } else if !other.range.is_empty() {
            self.range =
                self.range.start.min(other.range.start)..self.range.end.max(other.range.end);
        }
        for tid in &other.tids {
            if let Err(at) = self.tids.binary_search(tid)
                && at < MAX_TIDS
            {
                self.tids.insert(at, *tid);
                self.tids.truncate(MAX_TIDS);
            }
        }
    }
}

/// All entries of a story.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    slot: u64,
    at: FxHashMap<(u64, Kind), usize>,
    entries: Vec<Entry>,
}

impl Default for Entries {
    fn default() -> Self {
        Self { slot: FIRST_SLOT, at: FxHashMap::default(), entries: Vec::new() }
    }
}

impl Entries {
    /// Adds something that happened at one moment.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.put(entry);
        while self.entries.len() > MOST && self.slot < LAST_SLOT {
            self.slot *= 2;
            self.at.clear();
            for entry in std::mem::take(&mut self.entries) {
                self.put(&entry);
            }
        }
    }

    fn put(&mut self, entry: &Entry) {
        let next = self.entries.len();
        match *self.at.entry((entry.first_ns / self.slot, entry.kind)).or_insert(next) {
            known if known < next => self.entries[known].merge(entry),
            _ => self.entries.push(entry.clone()),
        }
    }

    /// In the order of their beginning.
    pub(super) fn sorted(&self) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        entries.sort_by_key(|entry| entry.first_ns);
        entries
    }

    /// The sum of all.
    #[cfg(test)]
    pub(super) fn whole(&self) -> Sum {
        let mut whole = Sum::default();
        self.entries.iter().for_each(|entry| whole.add(&entry.sum));
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(time: u64, stack: u32, rss: i64) -> Entry {
        Entry {
            kind: Kind { what: What::Fault, name: "first-write", stack: Some(StackRef(stack)) },
            first_ns: time,
            last_ns: time,
            sum: Sum { rss, times: 1, touched: rss.unsigned_abs(), ..Sum::default() },
            range: time..time + 1,
            tids: vec![stack],
        }
    }

    proptest! {
        #[test]
        fn what_is_summed_up_is_all_there(
            things in proptest::collection::vec((0u64..1 << 40, 0u32..6, -9i64..9), 0..4000)
        ) {
            let mut entries = Entries::default();
            let mut whole = Sum::default();
            for (time, stack, rss) in &things {
                let entry = entry(*time, *stack, *rss);
                whole.add(&entry.sum);
                entries.add(&entry);
            }
            prop_assert_eq!(entries.whole(), whole);
            let sorted = entries.sorted();
            prop_assert!(sorted.len() <= MOST);
            prop_assert!(sorted.is_sorted_by_key(|entry| entry.first_ns));
            for stack in 0..6 {
                let of = |entry: &&Entry| entry.kind.stack == Some(StackRef(stack));
                let told: i64 = sorted.iter().filter(of).map(|entry| entry.sum.rss).sum();
                let is: i64 = things.iter().filter(|t| t.1 == stack).map(|t| t.2).sum();
                prop_assert_eq!(told, is);
            }
        }
    }

    #[test]
    fn few_things_keep_their_times() {
        let mut entries = Entries::default();
        for number in 0..10 {
            entries.add(&entry(number * 10_000, (number % 2) as u32, 1));
        }
        let times: Vec<u64> = entries.sorted().iter().map(|entry| entry.first_ns).collect();
        assert_eq!(times, (0..10).map(|number| number * 10_000).collect::<Vec<_>>());
    }
}
