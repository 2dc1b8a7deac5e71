//! What one code path did in one mapping.

/// At most so many threads are named for a path.
pub const MAX_TIDS: usize = 64;

/// What one code path did in one mapping, what was freed since included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Pages that it made resident or dirty.
    pub touched_pages: u64,
    /// Faults that it took.
    pub faults: u64,
    /// Its first, on `CLOCK_MONOTONIC`.
    pub first_ns: u64,
    /// Its last.
    pub last_ns: u64,
    /// The threads, sorted, at most [`MAX_TIDS`].
    pub tids: Vec<u32>,
}

impl Stats {
    /// Adds one fault, or pages found at a snapshot (`faults` is 0 then).
    pub fn add(&mut self, pages: u64, faults: u64, tid: u32, time_ns: u64) {
        if self.touched_pages == 0 && self.faults == 0 {
            (self.first_ns, self.last_ns) = (time_ns, time_ns);
        }
        self.touched_pages += pages;
        self.faults += faults;
        self.first_ns = self.first_ns.min(time_ns);
        self.last_ns = self.last_ns.max(time_ns);
        self.add_tid(tid);
    }

    /// Adds what the same path did elsewhere.
    pub fn merge(&mut self, other: &Self) {
        if *other == Self::default() {
            return;
        }
        if *self == Self::default() {
            *self = other.clone();
            return;
        }
        self.touched_pages += other.touched_pages;
        self.faults += other.faults;
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        other.tids.iter().for_each(|tid| self.add_tid(*tid));
    }

    fn add_tid(&mut self, tid: u32) {
        // The set keeps the smallest ids, so that it does not depend on the order of events.
        if let Err(at) = self.tids.binary_search(&tid)
            && at < MAX_TIDS
        {
            self.tids.insert(at, tid);
            self.tids.truncate(MAX_TIDS);
        }
    }
}
