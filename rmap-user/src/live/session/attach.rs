//! Attaching to processes that run.
//!
//! Comes in: process ids, or what to find them by. Goes out: the session's outcome, or one line that
//! says which of them cannot be attached to, and what to do.

use std::{collections::HashSet, time::Duration};

use super::{Error, Outcome, Watch, members::Members, obstacle::obstacle, trace, trace::Subject};
use crate::live::{cgroup::Group, ptrace::same_memory};

/// What is attached to.
#[derive(Clone, Debug)]
pub enum Target {
    /// Processes; one that is named twice counts once.
    Processes(Vec<u32>),
    /// These and their descendants, also those that run already.
    Trees(Vec<u32>),
    /// The processes of a control group and of those below it, also those that come later.
    Group(Group),
}

impl Default for Target {
    fn default() -> Self {
        Self::Processes(Vec::new())
    }
}

/// What `rmap attach` attaches to, and how.
#[derive(Debug, Default)]
pub struct AttachSettings {
    /// Which processes.
    pub target: Target,
    /// For how long; `None`: until they end, or somebody asks for the report.
    pub duration: Option<Duration>,
    /// How they are watched.
    pub watch: Watch,
}

/// Attaches to processes until they have ended, the time is over, or a signal asks for the report.
/// Then they are let go as they were. `traced` is called when tracing has ended and the report is
/// made.
///
/// # Errors
/// A process is not there or has no memory, the probes could not be loaded, or none of the processes
/// could be read; then they are as they were.
pub fn attach(settings: &AttachSettings, traced: impl FnOnce()) -> Result<Outcome, Error> {
    let (mut pids, members, group) = match &settings.target {
        Target::Processes(pids) => (named(pids)?, None, None),
        Target::Trees(pids) => {
            let pids = named(pids)?;
            (pids.clone(), Some(Members::trees(pids)), None)
        }
        Target::Group(group) => {
            let mut members = Members::group(group.clone());
            let pids = members.find().map_err(|error| Error::Obstacle(error.to_string()))?;
            (pids, Some(members), Some(group.clone()))
        }
    };
    match &group {
        Some(group) if pids.is_empty() => {
            return Err(Error::Obstacle(format!(
                "cannot attach to cgroup {}: no process that can be traced is in it now; look with \
                 `systemd-cgls` or in its cgroup.procs",
                group.name()
            )));
        }
        Some(_) => {}
        None => pids.extend(sharers(&pids).collect::<Vec<u32>>()),
    }
    let members = members.filter(|_| settings.watch.follow);
    let subject = Subject::Processes { pids, members, group, duration: settings.duration };
    trace::start(subject, &settings.watch, traced, None)
}

/// Processes that were named, each once.
fn named(pids: &[u32]) -> Result<Vec<u32>, Error> {
    let mut seen = HashSet::new();
    let pids: Vec<u32> = pids.iter().copied().filter(|pid| seen.insert(*pid)).collect();
    if pids.is_empty() {
        return Err(Error::Obstacle("there is no process to attach to".to_owned()));
    }
    for &pid in &pids {
        if let Some(why) = obstacle(pid) {
            return Err(Error::Obstacle(format!("cannot attach to process {pid}: {why}")));
        }
    }
    Ok(pids)
}

/// Other processes that run in the memory of some (`CLONE_VM` without `CLONE_THREAD`): what they do
/// there is done to those too.
fn sharers(pids: &[u32]) -> impl Iterator<Item = u32> {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let others = all.filter_map(|process| u32::try_from(process.pid()).ok());
    others
        .filter(|other| !pids.contains(other) && *other != std::process::id())
        .filter(|other| pids.iter().any(|pid| same_memory(*pid, *other) == Some(true)))
        .filter(|other| obstacle(*other).is_none())
}
