//! A report in the formats of other programs; weights are bytes.
//!
//! Comes in: a report. Goes out: one format a file.

pub mod folded;
pub mod perfetto;
pub mod pprof;
mod proto;
pub mod speedscope;
