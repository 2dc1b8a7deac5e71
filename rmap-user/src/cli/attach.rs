//! The command `attach`: traces processes that run already, for a while, and reports on them.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::report_out::Stream;
use super::seconds::seconds;
use super::watch::WatchOptions;
use crate::live::session::{self, AttachSettings};

/// The arguments of `rmap attach`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rmap attach [OPTIONS] -p PID[,PID…]",
    after_help = "It ends with the processes, after -d SECS, or with Ctrl-C.",
    after_long_help = "\
rmap traces until all of the processes have ended, -d SECS are over, or Ctrl-C or SIGTERM asks for \
the report, which goes to stdout. The processes go on as they were.

What was resident when rmap came is `before-attach`, until it is freed or another page takes its \
place; what changes from then on is told exactly, with its code path. ΔRSS and ΔDirty are the \
changes since then. Processes that are started later are followed; name those that run already:

  rmap attach -p \"$(pgrep -d, -x postgres)\" -d 10

Each process stands still while rmap reads its memory, once at the start and once at the end, some \
25 ms for each GiB that is resident. As after a stop by SIGSTOP and SIGCONT, a few system calls that \
wait (epoll_wait, for example) return early with EINTR. A process that a debugger or strace traces \
already is not stopped: its figures are those of a running process, and there is no snapshot at its \
exit. docs/report.md describes everything."
)]
pub struct AttachOptions {
    /// The processes
    #[arg(
        short,
        long = "pid",
        value_name = "PID",
        required = true,
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub pids: Vec<u32>,

    /// Let go after SECS seconds
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    pub duration: Option<Duration>,

    /// How the processes are watched.
    #[command(flatten)]
    pub watch: WatchOptions,
}

/// Attaches, lets go and prints the report.
///
/// # Errors
/// What was attempted and did not succeed.
pub fn attach(options: &AttachOptions) -> anyhow::Result<ExitCode> {
    options.watch.check()?;
    let settings = AttachSettings {
        pids: options.pids.clone(),
        duration: options.duration,
        watch: options.watch.watch(),
    };
    let outcome = options.watch.trace(|traced| session::attach(&settings, traced))?;
    let printed = options.watch.print(outcome, Stream::Stdout);
    Ok(if printed.whole { printed.verdict.exit() } else { ExitCode::FAILURE })
}
