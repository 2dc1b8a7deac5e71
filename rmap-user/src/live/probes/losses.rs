//! Which events found no room: read from the maps in which the probes keep what they know of them.
//!
//! Comes in: the maps. Goes out: an [`Event`] for each address space or 2 MiB of it of which
//! something was lost since the last time.

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use rmap_ebpf::abi::{LOST_REGION, LostPages, LostSpace};
use zerocopy::{FromBytes, IntoBytes};

use super::{Error, Quiet, map};
use crate::trace::{Body, Event, Missing, MissingPages, MmId};

/// `LostKey` and `LostPages` as elements of a map.
type Key = [u64; 2];
type Pages = [u64; size_of::<LostPages>() / 8];
type Space = [u64; size_of::<LostSpace>() / 8];

/// The maps.
pub struct Losses {
    pages: Quiet<HashMap<MapData, Key, Pages>>,
    spaces: Quiet<HashMap<MapData, u64, Space>>,
    now: Quiet<Array<MapData, u32>>,
    /// What the probes write now.
    generation: u8,
    /// Losses of which nothing is known that were told.
    anywhere: u64,
}

impl Losses {
    /// Takes the maps out of the object.
    ///
    /// # Errors
    /// They are not there.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        Ok(Self {
            pages: map(ebpf, "LOST_PAGES")?,
            spaces: map(ebpf, "LOST_SPACES")?,
            now: map(ebpf, "LOSS_GENERATION")?,
            generation: 1,
            anywhere: 0,
        })
    }

    /// What was lost since the last time. `anywhere`: how many losses there were in all of which
    /// nothing is known; `now_ns`: the time. A loss that happens meanwhile may be told twice.
    ///
    /// # Errors
    /// A map refused: then nothing is known of what was lost.
    pub fn read(&mut self, anywhere: u64, now_ns: u64) -> Result<Vec<Event>, Error> {
        let before = self.generation;
        self.generation = before.checked_add(1).unwrap_or(1);
        let refused = |name| move |e: aya::maps::MapError| Error::Map { name, why: e.to_string() };
        // What a probe notes with the old number while this goes on is found the next time: it
        // counts the loss after that, and is looked for again as the number before.
        let next = u32::from(self.generation);
        self.now.change(|now| now.set(0, next, 0)).map_err(refused("LOSS_GENERATION"))?;
        let older = if before == 1 { u8::MAX } else { before - 1 };
        let mut events = Vec::new();
        for entry in self.pages.one_by_one(HashMap::iter) {
            let ([mm, region], value) = entry.map_err(refused("LOST_PAGES"))?;
            let Ok(lost) = LostPages::read_from_bytes(value.as_bytes()) else { continue };
            let mut missing = MissingPages { start: region * LOST_REGION, ..Default::default() };
            for (at, of) in lost.pages.iter().enumerate() {
                if *of != 0 && [older, before, self.generation].contains(of) {
                    missing.set(at as u64 * 4096);
                }
            }
            if missing.pages != [0; 8] {
                let body = Body::Missing(Missing::Pages(Box::new(missing)));
                events.push(event(lost.last_ns, lost.pid, mm, body));
            }
        }
        for entry in self.spaces.one_by_one(HashMap::iter) {
            let (mm, value) = entry.map_err(refused("LOST_SPACES"))?;
            let Ok(lost) = LostSpace::read_from_bytes(value.as_bytes()) else { continue };
            if [older, before, self.generation].contains(&lost.generation) {
                let body = Body::Missing(Missing::Space { calls: lost.calls != 0 });
                events.push(event(lost.last_ns, lost.pid, mm, body));
            }
        }
        if anywhere > self.anywhere {
            self.anywhere = anywhere;
            events.push(event(now_ns, 0, 0, Body::Missing(Missing::Anywhere)));
        }
        Ok(events)
    }
}

const fn event(time_ns: u64, pid: u32, mm: u64, body: Body) -> Event {
    Event { time_ns, pid, tid: pid, mm: MmId(mm), body }
}
