//! The command `pmap`: what processes hold now, by the kernel's own books. Nothing is traced.
//!
//! Comes in: process ids. Goes out: the table of `pmap -x`; or with more columns, or grouped, or as a
//! report in JSON that `rmap diff` can compare with another one.

use std::io;

use anyhow::Context as _;
use clap::Args;

use super::report_out::{OutputOptions, Stream};
use super::select::Key;
use super::{pmap, save};
use crate::insight::naming;
use crate::live::session;
use crate::view::columns::Extra;

/// What `-X` shows.
const EXTENDED: [Extra; 8] = [
    Extra::Pss,
    Extra::Private,
    Extra::Shared,
    Extra::Swap,
    Extra::LazyFree,
    Extra::AnonHuge,
    Extra::Locked,
    Extra::Ksm,
];

/// The arguments of `rmap pmap`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  rmap pmap $$",
    after_long_help = "\
Without options the table is that of `pmap -x`, for each process. With --json FILE the same figures are \
a report in which every byte is before-attach; `rmap diff BEFORE.json AFTER.json` compares two of them, \
with no trace at all."
)]
pub struct BooksOptions {
    /// Processes
    #[arg(value_name = "PID", required = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,

    /// More columns: PSS, private, shared, swap, LazyFree, huge, locked, KSM
    #[arg(
        short = 'X',
        long,
        conflicts_with_all = ["by", "tree", "reverse", "full", "columns"]
    )]
    pub extended: bool,

    /// Where the table goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Prints what the processes hold.
///
/// # Errors
/// A process that is not there or may not be read; what could not be written.
pub fn books(options: &BooksOptions) -> anyhow::Result<()> {
    let mut output = options.output.clone();
    output.check()?;
    if options.extended {
        output.answer.columns = EXTENDED.to_vec();
    }
    let answer = &output.answer;
    let plain = answer.columns.is_empty() && answer.by.is_empty() && !answer.full;
    let elsewhere = [&output.json, &output.output, &output.html].iter().any(|file| file.is_some());
    if plain && !elsewhere {
        return options.pids.iter().try_for_each(|pid| print(*pid));
    }
    if !answer.columns.is_empty() {
        output.select.top.get_or_insert(0);
        output.select.sort.get_or_insert(Key::Address);
    }
    let mut report = session::look(&options.pids).context("cannot look at the processes")?;
    naming::name_segments(&mut report);
    output.print(&report, None, Stream::Stdout)
}

fn print(pid: u32) -> anyhow::Result<()> {
    match pmap::pmap(pid, &mut io::stdout().lock()) {
        Err(pmap::Error::Output { source, .. }) => save::unless_gone(Err(source))?,
        printed => printed?,
    }
    Ok(())
}
