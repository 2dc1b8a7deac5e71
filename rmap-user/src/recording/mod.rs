//! Recordings: the inputs of a session in a file, so that its report can be made again.
//!
//! Comes in: [`Input`](crate::trace::Input)s in their order; or a file, from anybody. Goes out: the
//! file; or the same inputs, checked. Memory and time are bounded by the size of the file.
//! `docs/recording.md` describes every byte.
//!
//! * [`writer`]: batches go to the file on a thread of their own; `read`: a file becomes inputs;
//! * `frame`: the file as a sequence of checked frames;
//! * `rewrites`: watched memory as bytes; `runtime`: frames and code of language runtimes as bytes;
//! * `codec`: inputs as bytes; `names`: names of code as bytes; `varint`: numbers as bytes;
//! * `breakdown`: the measures of a segment and threads as bytes;
//! * `heap`: what an allocator holds as bytes; `malloc`: what its shim reports as bytes;
//! * `limits`: values that no kernel gives.

pub(crate) mod breakdown;
pub(crate) mod codec;
pub(crate) mod frame;
mod heap;
pub(crate) mod limits;
mod malloc;
pub(crate) mod names;
pub(crate) mod read;
mod rewrites;
#[cfg(test)]
mod roundtrip_tests;
mod runtime;
pub(crate) mod varint;
pub mod writer;

use serde::{Deserialize, Serialize};

use crate::report::{Cgroup, Exit, Host, Mode, Oom, Package, Probe};

pub use frame::is_recording;
pub use names::FileNames;
pub use writer::Recorder;

/// What is known when a session begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The version of rmap that records.
    pub rmap_version: String,
    /// `run` or `attach`.
    pub mode: Mode,
    /// The machine.
    pub host: Host,
    /// The start, on `CLOCK_MONOTONIC`.
    pub started_ns: u64,
    /// RFC 3339.
    pub started_at: String,
    /// The command and its arguments; `None` for `attach`.
    pub command: Option<Vec<String>>,
    /// The processes that were named; empty for `run`.
    pub pids: Vec<u32>,
}

/// What is known when a session has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// The processes that were named, or the command's.
    pub pids: Vec<u32>,
    /// The end, on `CLOCK_MONOTONIC`.
    pub ended_ns: u64,
    /// How the command ended.
    pub exit: Option<Exit>,
    /// Every probe of the plan.
    pub probes: Vec<Probe>,
    /// The control group that was attached to, with the session's own times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Cgroup>,
    /// Processes that the kernel killed for want of memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oom: Vec<Oom>,
    /// Packages of files whose functions have no names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error("it is no recording of rmap")]
    Foreign,
    /// Nothing is in it.
    #[error("it is empty: no recording was begun")]
    Empty,
    /// A newer rmap made it.
    #[error("it has version {0} of the format, and this rmap reads version {v}: use a newer rmap", v = frame::VERSION)]
    Newer(u16),
    /// It ends before the session was described.
    #[error("it ends at byte {0}, before the session is described: nothing can be told from it")]
    NoOpening(u64),
    /// What was written is not what is read.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where the frame begins.
        at: u64,
        /// What is wrong with it.
        what: String,
    },
    /// It is whole, and does not hold what is asked for.
    #[error("{0}")]
    NotThere(String),
}
