//! The code of programs that are gone before anybody could look what they had mapped.
//!
//! Comes in: a call that mapped code, in a program that another one has taken the place of since
//! (`env` does so within a millisecond). Goes out: the mapping, if exactly one of the files that
//! the program's headers name has its code at this place of the file, in this length: the loader
//! maps nothing else so. Otherwise nothing: its stacks end there, and say so.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use super::{Collector, Image};
use crate::event::{Event, MapCall};
use crate::symbol::{Binary, Module};

impl Collector {
    /// Makes the tables of the files that the program of a process will load, while it stands:
    /// afterwards it would be faster than the tables.
    pub(super) fn foresee(&mut self, pid: u32) {
        let files = self.catalogue.forecast(pid);
        if self.probes.prepare(&files).is_err() {
            self.failed_tables += 1;
        }
        if let Some(instance) = self.investigation.instance(pid) {
            self.forecasts.insert(pid, (instance, files));
        }
    }

    /// A call has mapped code: looks at it, or, if the program is gone meanwhile, takes it for what
    /// was foreseen.
    pub(super) fn mapped(&mut self, event: &Event, call: &MapCall) {
        if !self.scan(event.pid, event.pid, Image::MayBeAnother) {
            self.as_foreseen(event, call);
        }
    }

    /// Takes a mapping that is not there any more for what it must have been.
    fn as_foreseen(&mut self, event: &Event, call: &MapCall) {
        let Some(instance) = self.investigation.instance(event.pid) else { return };
        let Some((of, files)) = self.forecasts.get(&event.pid) else { return };
        let Ok(start) = u64::try_from(call.result) else { return };
        let (length, offset) = (call.args[1], call.args[5]);
        let Some(end) = start.checked_add(length) else { return };
        let tables = self.probes.tables();
        let mut fitting = files.iter().filter(|file| tables.has_code_at(file, offset, length));
        let (Some(binary), None, true) = (fitting.next(), fitting.next(), *of == instance) else {
            return;
        };
        let Some(path) = path_of(binary) else { return };
        let inode = binary.stamp.map_or(0, |stamp| stamp.inode);
        let binary = Some(Arc::clone(binary));
        let module = Module { range: start..end, offset, path, device: (0, 0), inode, binary };
        let map = self.modules.entry(instance).or_default();
        map.add(event.time_ns, module);
        let living: Vec<Module> = map.living().cloned().collect();
        self.investigation.code(event.pid, event.time_ns, &living);
    }
}

/// By which path a file was opened.
fn path_of(binary: &Binary) -> Option<String> {
    let descriptor = binary.file.as_ref()?.as_raw_fd();
    let path = fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    path.into_os_string().into_string().ok()
}
