//! The probes' records in the order in which they happened, and among them what was lost.
//!
//! Comes in: the ring, the second ring for what finds no room in it, and the maps of losses. Goes
//! out: [`Event`]s.
//!
//! Records of one ring are nearly in order. A loss stands behind every event up to its time: what
//! came later is not touched by it.

use std::collections::VecDeque;

use aya::maps::{MapData, RingBuf};
use rmap_ebpf::abi;
use tokio::io::unix::AsyncFd;

use crate::{
    live::{
        probes::{Error, Losses, Probes},
        procfs,
    },
    trace::{Body, Event, Missing, MmId},
};

use super::positions::Positions;

/// The rings and the losses.
pub(super) struct Stream {
    ring: AsyncFd<RingBuf<MapData>>,
    /// `None` if the kernel does not show them: then a record that is not finished ends the reading.
    positions: Option<Positions>,
    spill: RingBuf<MapData>,
    losses: Losses,
    /// Losses that were told, by their time.
    missing: VecDeque<Event>,
    /// The next record of each ring, if the other's came first.
    held: Option<Event>,
    spilled: Option<Event>,
    /// Lost events and those of which nothing is known, when that was last asked.
    lost: (u64, u64),
    /// Records that could not be read.
    unreadable: u64,
}

impl Stream {
    /// Over the probes' maps.
    pub(super) fn new(probes: &mut Probes, ring: AsyncFd<RingBuf<MapData>>) -> Result<Self, Error> {
        Ok(Self {
            positions: Positions::of(ring.get_ref()).ok(),
            ring,
            spill: probes.spill()?,
            losses: probes.losses()?,
            missing: VecDeque::new(),
            held: None,
            spilled: None,
            lost: (0, 0),
            unreadable: 0,
        })
    }

    /// Ready when there are records.
    pub(super) const fn ring(&self) -> &AsyncFd<RingBuf<MapData>> {
        &self.ring
    }

    /// Records that could not be read.
    pub(super) const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Looks whether anything was lost since it was last asked, and says so.
    pub(super) fn look(&mut self, probes: &Probes) -> bool {
        let count = |counter| probes.counter(counter);
        let lost = match (count(abi::COUNT_LOST_EVENTS), count(abi::COUNT_LOST_ANYWHERE)) {
            (Ok(events), Ok(anywhere)) => (events, anywhere),
            // What cannot be read may be more than nothing.
            _ => (self.lost.0 + 1, self.lost.1),
        };
        if lost == self.lost {
            return false;
        }
        self.lost = lost;
        let now_ns = procfs::monotonic_ns();
        match self.losses.read(lost.1, now_ns) {
            Ok(events) => self.missing.extend(events),
            Err(_) => {
                let body = Body::Missing(Missing::Anywhere);
                self.missing.push_back(Event {
                    time_ns: now_ns,
                    pid: 0,
                    tid: 0,
                    mm: MmId(0),
                    body,
                });
            }
        }
        self.missing.make_contiguous().sort_by_key(|event| event.time_ns);
        true
    }

    /// The losses that are still to be told, whatever is still in the rings.
    pub(super) fn rest(&mut self) -> Vec<Event> {
        self.missing.drain(..).collect()
    }

    /// How far the ring has been written by now, for [`Stream::is_before`].
    pub(super) fn end(&self) -> u64 {
        self.positions.as_ref().map_or(0, Positions::written)
    }

    /// Whether there are records before that place that were not read, because one is not finished.
    pub(super) fn is_before(&self, end: u64) -> bool {
        self.positions.as_ref().is_some_and(|positions| positions.read() < end)
    }

    /// The next event; `None` if there is none now.
    pub(super) fn next(&mut self) -> Option<Event> {
        if self.held.is_none() {
            self.held = take(self.ring.get_mut(), &mut self.unreadable);
        }
        if self.spilled.is_none() {
            self.spilled = take(&mut self.spill, &mut self.unreadable);
        }
        let time = |event: Option<&Event>| event.map_or(u64::MAX, |event| event.time_ns);
        let (held, spilled) = (time(self.held.as_ref()), time(self.spilled.as_ref()));
        let missing = time(self.missing.front());
        if missing < held.min(spilled) {
            return self.missing.pop_front();
        }
        if spilled < held { self.spilled.take() } else { self.held.take() }
    }
}

/// The next record of a ring that can be read.
fn take(ring: &mut RingBuf<MapData>, unreadable: &mut u64) -> Option<Event> {
    while let Some(item) = ring.next() {
        match Event::decode(&item) {
            Ok(event) => return Some(event),
            Err(_) => *unreadable += 1,
        }
    }
    None
}
