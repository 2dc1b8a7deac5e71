//! The command `attach`: traces processes that run already, for a while, and reports on them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Id;
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _};

use super::answer::Tree;
use super::report_out::Stream;
use super::seconds::seconds;
use super::watch::WatchOptions;
use crate::live::cgroup::Group;
use crate::live::session::{self, AttachSettings, Target};

/// The arguments of `rmap attach`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rmap attach [OPTIONS] -p PID|--tree PID|--cgroup PATH|--container ID",
    group = clap::ArgGroup::new("target").args(["pids", "cgroup", "container", "tree"]).required(true).multiple(true),
    mut_arg("full", |arg| arg.conflicts_with(Resettable::<Id>::Reset).conflicts_with_all(["by", "reverse"])),
    mut_arg("tree", |arg| arg.conflicts_with(Resettable::<Id>::Reset).num_args(0..=1).value_name("PID").display_order(1).help(
        "PID with all descendants; alone: call paths as a tree"
    )),
    after_help = "It ends with the processes, after -d SECS, or with Ctrl-C.",
    after_long_help = "\
rmap traces until all of the processes have ended, -d SECS are over, or Ctrl-C or SIGTERM asks for \
the report, which goes to stdout. The processes go on as they were.

What was resident when rmap came is `before-attach`, until it is freed or another page takes its \
place; what changes from then on is told exactly, with its code path. ΔRSS and ΔDirty are the \
changes since then. Processes that are started later are followed; name those that run already, or \
take all descendants of one, or all of a cgroup with those that join it later (within 50 ms):

  rmap attach -p \"$(pgrep -d, -x postgres)\" -d 10
  rmap attach --tree \"$(pgrep -o -x postgres)\" -d 10
  rmap attach --container 4fa6e0f0c678 -d 10
  rmap attach --cgroup /system.slice/nginx.service -d 10

Of a cgroup the report has the kernel's own books too (charge, anonymous memory, page cache, limits, \
events), what of the charge the processes' pages are, and what the rest is.

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
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub pids: Vec<u32>,

    /// The processes of a cgroup, and those that join it
    #[arg(long, value_name = "PATH", conflicts_with_all = ["pids", "container"], display_order = 2)]
    pub cgroup: Option<PathBuf>,

    /// The same of a container by its ID, or a systemd unit
    #[arg(long, value_name = "ID", conflicts_with = "pids", display_order = 3)]
    pub container: Option<String>,

    /// Let go after SECS seconds
    #[arg(short, long, value_name = "SECS", value_parser = seconds)]
    pub duration: Option<Duration>,

    /// How the processes are watched.
    #[command(flatten)]
    pub watch: WatchOptions,
}

/// What is meant.
fn target(options: &AttachOptions) -> anyhow::Result<Target> {
    Ok(match (&options.watch.output.answer.tree, &options.cgroup, &options.container) {
        (Some(Tree::Processes(_)), Some(_), _) | (Some(Tree::Processes(_)), _, Some(_)) => {
            bail!("--tree PID and a cgroup cannot be attached to together: name one of them")
        }
        (Some(Tree::Processes(pids)), None, None) => {
            Target::Trees(pids.iter().chain(&options.pids).copied().collect())
        }
        (_, Some(path), _) => Target::Group(Group::at(path)?),
        (_, None, Some(id)) => Target::Group(Group::of_container(id)?),
        (Some(Tree::Paths), None, None) if options.pids.is_empty() => {
            let why =
                "--tree alone shows call paths as a tree; name a process: --tree PID, or -p PID";
            super::Cli::command().error(ErrorKind::MissingRequiredArgument, why).exit()
        }
        (_, None, None) => Target::Processes(options.pids.clone()),
    })
}

/// Attaches, lets go and prints the report.
///
/// # Errors
/// What was attempted and did not succeed.
pub fn attach(options: &AttachOptions) -> anyhow::Result<ExitCode> {
    options.watch.check()?;
    let settings = AttachSettings {
        target: target(options)?,
        duration: options.duration,
        watch: options.watch.watch(),
    };
    let outcome = options.watch.trace(|traced| session::attach(&settings, traced))?;
    let printed = options.watch.print(outcome, Stream::Stdout);
    Ok(if printed.whole { printed.verdict.exit() } else { ExitCode::FAILURE })
}
