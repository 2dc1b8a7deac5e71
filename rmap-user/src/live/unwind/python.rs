//! Which processes run a CPython, and what the kernel side is to know of it.
//!
//! Comes in: the modules of a process whenever they change. Goes out: the configuration of the place
//! that the process has among the mappings; for the report, which processes were read and why others
//! were not.

use std::collections::{BTreeMap, HashMap};

use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use rmap_ebpf::abi::PythonConfig;

use crate::{
    live::bpf::{Error, Quiet, map},
    report,
    runtime::python::{Found, Version},
    symbol::Module,
};

/// The name of the probe in reports.
pub const PYTHON_FRAMES: &str = "python-frames";
/// Processes that a report names one by one.
const NAMED: usize = 8;

/// [`PythonConfig`] as an element of a map.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct ConfigValue(PythonConfig);

// SAFETY: plain integers without padding (`PythonConfig` is `IntoBytes`); every bit pattern is a
// value (`FromBytes`).
unsafe impl aya::Pod for ConfigValue {}

/// What is known of a process that maps a CPython.
#[derive(Clone, Debug)]
struct Process {
    /// Tells its code objects from those of other processes; a forked child has its parent's.
    salt: u64,
    /// The version, and why it is not read.
    version: Option<Version>,
    why_not: Option<String>,
    /// Frames of it came.
    read: bool,
}

/// All of a session.
pub(super) struct Pythons {
    array: Quiet<Array<MapData, ConfigValue>>,
    /// Frames are wanted.
    wanted: bool,
    processes: HashMap<u32, Process>,
    /// Those that have ended.
    past: Vec<(u32, Process)>,
    last_salt: u64,
    /// Places that have a configuration.
    used: Vec<u32>,
}

impl Pythons {
    pub(super) fn new(ebpf: &mut Ebpf, wanted: bool) -> Result<Self, Error> {
        Ok(Self {
            array: map(ebpf, "PYTHON")?,
            wanted,
            processes: HashMap::new(),
            past: Vec::new(),
            last_salt: 0,
            used: Vec::new(),
        })
    }

    /// What the kernel side is to know of a process with these modules; `None`: nothing.
    pub(super) fn of(&mut self, pid: u32, modules: &[&Module]) -> Option<PythonConfig> {
        if !self.wanted {
            return None;
        }
        let known = modules.iter().find_map(|module| {
            let found = &module.binary.as_ref()?.python;
            (*found != Found::Nothing).then(|| (module, found.clone()))
        });
        let Some((module, found)) = known else {
            // Perhaps it ran another program before.
            self.forget(pid);
            return None;
        };
        let (version, why_not, interpreter) = match found {
            Found::Interpreter(interpreter) => (Some(interpreter.version), None, Some(interpreter)),
            Found::Refused(version, why) => (version, Some(why), None),
            Found::Nothing => return None,
        };
        let last_salt = &mut self.last_salt;
        let process = self.processes.entry(pid).or_insert_with(|| {
            *last_salt += 1;
            Process { salt: *last_salt, version, why_not: None, read: false }
        });
        (process.version, process.why_not) = (version, why_not);
        let headers = module.binary.as_ref()?.headers.as_ref()?;
        // Virtual address minus file offset; where the file's address 0 would be.
        let in_file = headers.bias_of(&module.offsets())?.wrapping_add_unsigned(module.offset);
        let bias = module.range.start.wrapping_sub(in_file.cast_unsigned());
        interpreter?.config(bias, process.salt)
    }

    /// Gives a place its configuration, before any process has that place.
    pub(super) fn set(&mut self, slot: u32, config: Option<PythonConfig>) -> Result<(), Error> {
        if config.is_none() && !self.used.contains(&slot) {
            return Ok(());
        }
        if !self.used.contains(&slot) {
            self.used.push(slot);
        }
        let value = ConfigValue(config.unwrap_or_default());
        self.array
            .change(|array| array.set(slot, value, 0))
            .map_err(|error| Error::Map { name: "PYTHON", why: error.to_string() })
    }

    /// A forked child has its parent's interpreter and code.
    pub(super) fn inherit(&mut self, parent: u32, child: u32) {
        if let Some(process) = self.processes.get(&parent) {
            let process = Process { read: false, ..process.clone() };
            self.processes.insert(child, process);
        }
    }

    /// A process has ended, or runs another program.
    pub(super) fn forget(&mut self, pid: u32) {
        self.past.extend(self.processes.remove(&pid).map(|process| (pid, process)));
    }

    /// Frames of a process came.
    pub(super) fn came(&mut self, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.read = true;
        }
    }

    /// Whether a process is read.
    pub(super) fn reads(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.why_not.is_none())
    }

    /// For the report: the versions that were met, with the processes of each, and why some were not
    /// read.
    pub(super) fn probes(&self) -> Vec<report::Probe> {
        let mut by_outcome: BTreeMap<(String, Option<String>), Vec<u32>> = BTreeMap::new();
        let living = self.processes.iter().map(|(pid, process)| (*pid, process));
        for (pid, process) in self.past.iter().map(|(pid, process)| (*pid, process)).chain(living) {
            let version = process.version.map_or("python".to_owned(), |v| format!("python {v}"));
            let unread = || (!process.read).then(|| "no frame of it could be read".to_owned());
            let why_not = process.why_not.clone().or_else(unread);
            by_outcome.entry((version, why_not)).or_default().push(pid);
        }
        by_outcome
            .into_iter()
            .map(|((version, why_not), mut pids)| {
                pids.sort_unstable();
                pids.dedup();
                report::Probe {
                    name: format!("{version} ({})", list(&pids)),
                    attached: why_not.is_none(),
                    why_not,
                }
            })
            .collect()
    }
}

/// `process 7`, `processes 7, 8`, `processes 1, …, 8 and 4 more`.
fn list(pids: &[u32]) -> String {
    let named: Vec<String> = pids.iter().take(NAMED).map(u32::to_string).collect();
    let word = if pids.len() == 1 { "process" } else { "processes" };
    let more = pids.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{word} {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn processes_are_named_up_to_eight() {
        assert_eq!(list(&[7]), "process 7");
        assert_eq!(list(&[7, 8]), "processes 7, 8");
        let many: Vec<u32> = (1..=11).collect();
        assert_eq!(list(&many), "processes 1, 2, 3, 4, 5, 6, 7, 8 and 3 more");
    }
}
