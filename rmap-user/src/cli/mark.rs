//! The command `mark`: gives the present moment of a running session a name.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::moments::name;
use crate::live::session::marks;

/// The arguments of `rmap mark`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:  rmap mark loaded; later  rmap report --window loaded..end prog.rmap",
    after_long_help = "\
What the program has done until then stands before the mark, and rmap mark comes back when it stands. \
SIGUSR1 to rmap sets marks too, called signal-1, signal-2, …, a little later than it is sent. Root, \
the user of rmap and who called sudo may mark a session; its command may if it runs as one of them."
)]
pub struct MarkOptions {
    /// The name, for --at and --window
    #[arg(value_name = "NAME", value_parser = name)]
    pub name: String,

    /// The process of rmap, if several sessions run
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
}

/// Marks.
///
/// # Errors
/// There is no session, or more than one, or it refuses.
pub fn mark(options: &MarkOptions) -> anyhow::Result<ExitCode> {
    let pid = match options.pid {
        Some(pid) => pid,
        None => only(&marks::sessions().context("cannot look for sessions")?)?,
    };
    let name = &options.name;
    marks::mark(pid, name)
        .with_context(|| format!("cannot mark {name:?} in the session of rmap {pid}"))?;
    Ok(ExitCode::SUCCESS)
}

fn only(sessions: &[u32]) -> anyhow::Result<u32> {
    match sessions {
        [] => bail!("no session runs here: start one with rmap run or rmap attach"),
        [one] => Ok(*one),
        many => {
            let pids: Vec<String> = many.iter().map(u32::to_string).collect();
            bail!("several sessions run, choose one with -p PID: {}", pids.join(", "))
        }
    }
}
