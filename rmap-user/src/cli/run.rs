//! The command `run`: starts a command traced from its first instruction and reports on it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Args;

use super::report_out::Stream;
use super::watch::WatchOptions;
use crate::live::ptrace::{Credentials, Status};
use crate::live::session::{self, GoesOn, RunSettings, Watch};

/// The arguments of `rmap run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rmap run [OPTIONS] [--] CMD [ARG…]",
    after_help = "rmap exits with CMD's own status, 128+N if signal N killed it.",
    after_long_help = "\
The report goes to stderr, or with -o to a file; stdout is the command's own. rmap exits with the \
command's own status, with 128+N if signal N killed it, with 1 if rmap itself failed, with 2 if \
it was called wrongly and with 3 if the command succeeded and used more than its budget.

Examples:
  rmap run -- ./prog --its-own option
  rmap run --json prog.json -o prog.txt -- ./prog
  rmap run --interval 0.5 --no-follow -- python3 app.py
  sudo rmap run --user \"$SUDO_USER\" -- ./prog

Columns: Address Kbytes RSS Dirty Mode Mapping are those of `pmap -x`. ΔRSS and ΔDirty are the \
changes during the session. Expl is the share that code paths explain. The code path is the cause, \
the innermost function and its callers. docs/report.md describes everything."
)]
pub struct RunOptions {
    /// How the command is watched.
    #[command(flatten)]
    pub watch: WatchOptions,

    /// Run CMD as this user (a name or a number)
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

const AS_ROOT: &str = "The command ran as root; to run it as yourself: \
                       sudo rmap run --user \"$SUDO_USER\" -- CMD";

/// Who called sudo, if it was not root.
fn caller() -> Option<String> {
    let root = nix::unistd::geteuid().is_root();
    let caller = std::env::var("SUDO_USER").ok().filter(|_| root)?;
    (!caller.is_empty() && caller != "root").then_some(caller)
}

/// Runs the command and prints the report. The exit status is the command's own, unless the
/// report could not be written.
///
/// # Errors
/// What was attempted and did not succeed.
pub fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    options.watch.check()?;
    let caller = caller();
    // The caller's shell may have expanded "$SUDO_USER" before sudo set it.
    let user = match options.user.as_deref() {
        Some("") => caller.as_deref().or(Some("")),
        user => user,
    };
    let credentials = user.map(Credentials::of_user).transpose()?;
    let marker = std::env::var("SUDO_UID").ok().and_then(|user| user.parse().ok());
    let marker = marker.or(credentials.as_ref().map(|credentials| credentials.uid));
    let watch = Watch { marker, ..options.watch.watch() };
    let settings =
        RunSettings { command: options.command.clone(), credentials, watch, output: None };
    let mut outcome = match options.watch.trace(|traced| session::run(&settings, traced)) {
        Ok(outcome) => outcome,
        Err(error) => {
            let status = error.exit_code();
            super::complain(&error.into());
            return Ok(ExitCode::from(status));
        }
    };
    if user.is_none() && caller.is_some() {
        outcome.report.session.notes.push(AS_ROOT.to_owned());
    }
    let (status, goes_on) = (outcome.status, outcome.goes_on.take());
    let printed = options.watch.print(outcome, Stream::Stderr);
    let status = goes_on.map_or(status, GoesOn::wait);
    let own = status.map_or(0, Status::shell_code);
    Ok(match own {
        _ if !printed.whole => ExitCode::FAILURE,
        // A command that failed says more than what it used.
        0 => printed.verdict.exit(),
        own => ExitCode::from(u8::try_from(own).unwrap_or(u8::MAX)),
    })
}
