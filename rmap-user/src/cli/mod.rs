//! The command line: what a person types becomes a call of one command.
//!
//! Comes in: arguments. Goes out: an exit status. One file per command; [`report_out`] is where
//! those that make a report print it, [`reading`] how recordings are read, [`save`] how files are
//! written.

mod heap;

pub mod answer;
pub mod attach;
pub mod books;
pub mod budget;
pub mod diff;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod heaps;
pub mod manual;
pub mod mark;
pub mod moments;
pub mod pmap;
pub mod progress;
pub mod reading;
pub mod report;
pub mod report_out;
pub mod rewrites;
pub mod run;
mod said;
pub mod save;
mod seconds;
pub mod select;
pub mod size;
pub mod top;
pub mod view;
pub mod watch;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::view::text;

/// Everything that can be typed.
#[derive(Debug, Parser)]
#[command(
    name = "rmap",
    version,
    about = "Tells why memory is resident, and which code path made it dirty",
    long_about = "Tells why memory is resident, and which code path made it dirty: per memory \
                  segment of a program, with the figures of the kernel's own accounting, to the \
                  byte.",
    after_help = "Start with: rmap run -- CMD   Also: man, completions   More: rmap COMMAND --help",
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// One of rmap's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command and tell what made its memory resident and dirty
    #[command(
        long_about = "Run a command and tell which code paths made its memory resident and dirty. It \
                  is traced from its first instruction, with its threads and its descendants; \
                  every process is looked at once more at its exit, while its memory still exists."
    )]
    Run(run::RunOptions),
    /// Trace processes that run already and tell the same of them
    #[command(
        long_about = "Trace processes that run already, for a while, and tell which code paths made \
                  their memory resident and dirty from then on. They are stopped twice for a \
                  moment, and go on as they were."
    )]
    Attach(attach::AttachOptions),
    /// Print the report again, from a recording
    #[command(
        long_about = "Print the report again, from a recording that `rmap run --record FILE` kept, on \
                  this machine or another one. What was recorded up to a crash is shown too."
    )]
    Report(report::ReportOptions),
    /// Look at processes in the terminal, live
    #[command(
        long_about = "Look at processes that run, or at a command, in the terminal, once a second: who \
                  holds their memory, what grows, what nobody explains."
    )]
    Top(top::TopOptions),
    /// Look at a recording in the terminal, moment by moment
    #[command(
        long_about = "Look at a recording or a JSON report in the terminal: owners, segments, \
                  processes and the tree of calls, at any moment of the session."
    )]
    View(view::ViewOptions),
    /// Tell the story of one segment in time
    #[command(
        long_about = "Tell the story of one segment: who mapped it, what happened to its pages in \
                  time, the code paths as a tree with bytes, and which pages are whose. From a \
                  recording, or of a process that runs, which is watched for a while first."
    )]
    Explain(explain::ExplainOptions),
    /// Show what the allocator of a process holds: live, free but kept
    #[command(
        long_about = "Show what the allocator of a process that runs holds: what is live, what is \
                      free but kept, and what malloc_trim(0) would return. Nothing is traced."
    )]
    Heap(heaps::HeapOptions),
    /// Compare two reports by segment and by code path
    Diff(diff::DiffOptions),
    /// Draw a report as a flame graph whose widths are bytes
    Flame(export::FlameOptions),
    /// Write a report in another program's format
    Export(export::ExportOptions),
    /// Print the memory map of a process as `pmap -x` does
    #[command(
        long_about = "Print the memory map of a process, with the columns and the totals of `pmap -x`: \
                  address, Kbytes, RSS, Dirty, mode and mapping. Nothing is traced."
    )]
    Pmap(books::BooksOptions),
    /// Tell what this kernel, these privileges and this machine allow
    #[command(
        long_about = "Tell what this kernel, these privileges and this machine allow: each probe, \
                  attached or why not, and what accuracy follows."
    )]
    Doctor(DoctorOptions),
    /// Give the present moment of a running session a name
    Mark(mark::MarkOptions),
    /// Print the completions for a shell
    #[command(hide = true)]
    Completions(manual::CompletionsOptions),
    /// Print the manual page (rmap man | man -l -)
    #[command(hide = true)]
    Man(manual::ManOptions),
}

/// The arguments of `rmap doctor`.
#[derive(Debug, Args)]
pub struct DoctorOptions {}

impl Cli {
    /// Runs the command and says how rmap is to exit.
    ///
    /// # Errors
    /// What the command attempted and did not get; exit status 1 follows.
    pub fn call(self) -> anyhow::Result<ExitCode> {
        heap::return_large();
        match self.command {
            Command::Run(options) => run::run(&options),
            Command::Attach(options) => attach::attach(&options),
            Command::Report(options) => report::run(&options),
            Command::Top(options) => top::top(&options),
            Command::View(options) => view::view(&options),
            Command::Explain(options) => explain::explain(&options),
            Command::Mark(options) => mark::mark(&options),
            Command::Diff(options) => diff::diff(&options),
            Command::Heap(options) => heaps::heap(&options),
            Command::Flame(options) => export::flame(&options).map(|()| ExitCode::SUCCESS),
            Command::Export(options) => export::export(&options).map(|()| ExitCode::SUCCESS),
            Command::Completions(options) => {
                manual::print(&manual::completions(options.shell)).map(|()| ExitCode::SUCCESS)
            }
            Command::Man(options) => manual::man(&options).map(|()| ExitCode::SUCCESS),
            Command::Pmap(options) => books::books(&options).map(|()| ExitCode::SUCCESS),
            Command::Doctor(DoctorOptions {}) => doctor::run(),
        }
    }
}

/// Is the worker that reads foreign files, if this process was started as one; else lets such workers be
/// started. To be called before anything else.
#[must_use]
pub fn worker() -> Option<ExitCode> {
    use crate::live::worker;
    let code = worker::serve();
    worker::use_processes();
    code
}

/// One line on stderr: what is about to be done.
pub fn say(line: &str) {
    let line = format!("rmap: {}\n", text::clean(line));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// One line on stderr: what was attempted and did not succeed. Whatever it holds of names from
/// outside is made safe for a terminal.
pub fn complain(error: &anyhow::Error) {
    // Not eprintln: a stderr that has gone is no reason to panic.
    let line = format!("rmap: {}\n", text::clean(&format!("{error:#}")));
    let _ = io::stderr().write_all(line.as_bytes());
}
