//! The command `run`: starts a command traced from its first instruction and reports on it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::progress::Progress;
use super::report_out::{OutputOptions, Stream};
use crate::live::ptrace::{Credentials, Status};
use crate::live::session::{self, RunSettings};

/// The arguments of `rmap run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rmap run [OPTIONS] [--] CMD [ARG…]",
    after_help = "rmap exits with CMD's own status, 128+N if signal N killed it.",
    after_long_help = "\
The report goes to stderr, or with -o to a file; stdout is the command's own. rmap exits with the \
command's own status, with 128+N if signal N killed it, with 1 if rmap itself failed and with 2 if \
it was called wrongly.

Examples:
  rmap run -- ./prog --its-own option
  rmap run --json prog.json -o prog.txt -- ./prog
  rmap run --interval 0.5 --no-follow -- python3 app.py
  sudo rmap run --user \"$USER\" -- ./prog

Columns: Address Kbytes RSS Dirty Mode Mapping are those of `pmap -x`. ΔRSS and ΔDirty are the \
changes during the session. Expl is the share that code paths explain. The code path is the cause, \
the innermost function and its callers. docs/report.md describes everything."
)]
pub struct RunOptions {
    /// Where the report goes, and in what form.
    #[command(flatten)]
    pub output: OutputOptions,

    /// Look at the memory every SECS seconds too, for the pattern `growing`
    #[arg(long, value_name = "SECS", value_parser = interval)]
    pub interval: Option<Duration>,

    /// Keep a recording in FILE, for `rmap report FILE`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Trace CMD alone, not the processes that it starts
    #[arg(long)]
    pub no_follow: bool,

    /// Run CMD as this user (a name or a number)
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,

    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// Seconds as a number over 0, with or without a fraction.
fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || "give seconds as a number over 0, such as 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(interval) if !interval.is_zero() => Ok(interval),
        _ => Err(wrong()),
    }
}

/// Runs the command and prints the report. The exit status is the command's own, unless the
/// report could not be written.
///
/// # Errors
/// What was attempted and did not succeed.
pub fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    options.output.check()?;
    options.record.as_deref().map_or(Ok(()), super::save::check)?;
    let credentials = options.user.as_deref().map(Credentials::of_user).transpose()?;
    let settings = RunSettings {
        command: options.command.clone(),
        follow: !options.no_follow,
        credentials,
        interval: options.interval,
        record: options.record.clone(),
        verbose: options.output.verbose > 1,
    };
    let mut progress = None;
    let traced = || progress = Some(Progress::start("naming code paths"));
    let outcome = session::run(&settings, traced);
    drop(progress);
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            let status = error.exit_code();
            super::complain(&error.into());
            return Ok(ExitCode::from(status));
        }
    };
    let own = outcome.status.map_or(0, Status::shell_code);
    if let Err(error) = options.output.print(&outcome.report, Stream::Stderr) {
        super::complain(&error);
        return Ok(ExitCode::FAILURE);
    }
    if let (Some(error), Some(path)) = (outcome.record_error, &options.record) {
        let what = format!("the recording {} ends early", path.display());
        super::complain(&anyhow::Error::new(error).context(what));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::from(u8::try_from(own).unwrap_or(u8::MAX)))
}
