//! Which functions of allocators a process has mapped.
//!
//! Comes in: a process's modules. Goes out: [`Site`]s: in which mapping, and at which offsets of its
//! file. The worker reads the symbols of each file once.

use std::sync::Arc;

use super::{Answer, Catalogue, Failure, Place, Request, TIME};
use crate::symbol::{Module, Stamp, allocator::Shape};

/// Functions of an allocator, and where they are in their file.
pub type Functions = Arc<[(Shape, u64)]>;

/// An executable mapping with functions of an allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where the mapping begins and ends: its name in `/proc/PID/map_files`.
    pub start: u64,
    /// As above.
    pub end: u64,
    /// The file's path as maps shows it. Not safe to print.
    pub path: String,
    /// Which file it is.
    pub stamp: Stamp,
    /// The functions in it.
    pub functions: Functions,
}

impl Catalogue {
    /// The sites of a process, and why some files could not be read.
    pub fn allocators(&mut self, pid: u32, modules: &[Module]) -> (Vec<Site>, Vec<String>) {
        let (mut sites, mut troubles) = (Vec::new(), Vec::new());
        for module in modules.iter().filter(|module| module.inode != 0) {
            let Some(binary) = module.binary.as_ref().filter(|binary| binary.headers.is_some())
            else {
                continue;
            };
            let Some(stamp) = binary.stamp else { continue };
            let all = match self.allocators.get(&stamp) {
                Some(known) => Arc::clone(known),
                None => {
                    let read = self.read_allocator(pid, module).unwrap_or_else(|failure| {
                        troubles.push(format!("{}: {failure}", module.name()));
                        Arc::default()
                    });
                    self.allocators.insert(stamp, Arc::clone(&read));
                    read
                }
            };
            let offsets = module.offsets();
            let functions: Functions =
                all.iter().filter(|(_, offset)| offsets.contains(offset)).copied().collect();
            if !functions.is_empty() {
                let (start, end) = (module.range.start, module.range.end);
                let path = module.name().to_owned();
                sites.push(Site { start, end, path, stamp, functions });
            }
        }
        (sites, troubles)
    }

    fn read_allocator(&mut self, pid: u32, module: &Module) -> Result<Functions, Failure> {
        let (start, end) = (module.range.start, module.range.end);
        let (inode, path) = (module.inode, module.path.clone());
        let place = Place::Mapping { pid, start, end, inode, path };
        let reply = self.worker.ask(&Request::Allocator { place }, None, TIME)?;
        match reply.answer {
            Answer::Functions(functions) => Ok(functions.into()),
            _ => Err(Failure::Refused("its reader sent another answer".to_owned())),
        }
    }
}
