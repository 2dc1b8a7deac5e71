//! The maps of the eBPF object, as user space uses them.
//!
//! Comes in: the loaded object. Goes out: its maps in their types, each used so that no event is lost
//! for it. Both the probes and the unwind tables stand on this; it knows neither.

mod error;
mod quiet;
mod targets;

use aya::Ebpf;
use aya::maps::{Array, Map, MapData};

pub use error::Error;
pub use quiet::{Quiet, Undisturbed};
pub use targets::Targets;

/// Takes a map out of the object in the type that it is used as.
pub fn map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<Quiet<T>, Error>
where
    T: TryFrom<Map>,
    T::Error: std::fmt::Display,
{
    taken(ebpf, name).map(Quiet::of)
}

/// The same of a ring, which is read in memory.
pub fn taken<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, Error>
where
    T: TryFrom<Map>,
    T::Error: std::fmt::Display,
{
    let map = ebpf
        .take_map(name)
        .ok_or(Error::Map { name, why: "it is not there, or was taken before".to_owned() })?;
    T::try_from(map).map_err(|e| Error::Map { name, why: e.to_string() })
}

/// The only element of an array map.
pub fn single<'a, T: aya::Pod>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<Array<&'a mut MapData, T>, Error> {
    let map = ebpf.map_mut(name).ok_or(Error::Map { name, why: "it is not there".to_owned() })?;
    Array::try_from(map).map_err(|e| Error::Map { name, why: e.to_string() })
}
