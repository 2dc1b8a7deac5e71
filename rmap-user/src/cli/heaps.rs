//! The command `heap`: what the allocator of a process that runs holds.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use super::report_out::{OutputOptions, Stream};
use super::seconds::seconds;
use crate::live::heap::{LIMIT, look};
use crate::live::session;
use crate::session::heap::{Circumstances, document};
use crate::view;

/// The arguments of `rmap heap`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rmap heap [OPTIONS] -p PID",
    after_help = "The process stands still while its heap is read: about 0.3 s for each GiB.",
    after_long_help = "\
The process is stopped, the heap structures of its glibc are read, and it goes on as it was. It \
stands for about 0.3 s for each resident GiB of heap, and no longer than --heap-limit; what was not \
read by then is missing, and the segment is marked partly-walked. Nothing is called in the process, \
and only pages that are resident are read.

Live are the chunks that the program holds. Which call path allocated them is not known here: \
`rmap run --heap` shows who touched the pages of free memory first. docs/heap.md describes the rest."
)]
pub struct HeapOptions {
    /// The process
    #[arg(
        short,
        long = "pid",
        value_name = "PID",
        required = true,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub pid: u32,

    /// Let the process go on after SECS seconds at the latest (5)
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub heap_limit: Option<Duration>,

    /// Write the table to FILE
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write the result as JSON to FILE (`-` is stdout)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Looks at the process and prints what was found.
///
/// # Errors
/// What was attempted and did not succeed.
pub fn heap(options: &HeapOptions) -> anyhow::Result<ExitCode> {
    let output = OutputOptions {
        output: options.output.clone(),
        json: options.json.clone(),
        ..OutputOptions::default()
    };
    output.check()?;
    let found = look(options.pid, options.heap_limit.unwrap_or(LIMIT))?;
    let (host, facts) = session::facts_of(options.pid);
    let beside = Circumstances {
        host,
        facts,
        stopped_ns: u64::try_from(found.stood.as_nanos()).unwrap_or(u64::MAX),
        stops: found.stops,
    };
    let document = document(&found.snapshot, &found.heap, beside);
    ensure!(document.pid == options.pid, "process {} is another one now", options.pid);
    output.print_with(
        Stream::Stdout,
        &|style, out| view::heap::write(&document, style, out),
        &|out| view::heap::write_json(&document, out),
    )?;
    Ok(ExitCode::SUCCESS)
}
