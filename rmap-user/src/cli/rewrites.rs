//! Options that ask who keeps writing (`--rewrites`).
//!
//! Comes in: arguments. Goes out: how a session watches memory for writes.

use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::seconds::seconds;
use crate::live::rewrite;
use crate::live::session::RewriteSettings;

/// Options of `rmap run` and `rmap attach`.
#[derive(Clone, Debug, Default, Args)]
pub struct RewriteOptions {
    /// Show who keeps writing: what is written again within SECS, 1 if it is not given
    ///
    /// Pages are drawn at random and write-protected by userfaultfd; the first write to each ends
    /// that, and is counted with its call path.
    #[arg(
        long,
        value_name = "SECS",
        value_parser = seconds,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        hide_short_help = true
    )]
    pub rewrites: Option<Duration>,

    /// Protect every page each SECS of --rewrites: exact, and costs the program more
    #[arg(long, hide_short_help = true)]
    pub rewrites_all: bool,

    /// The share of one processor that drawing pages may take
    #[arg(long, value_name = "PERCENT", value_parser = percent, hide_short_help = true)]
    pub rewrites_budget: Option<f64>,

    /// Protect huge pages too, which splits them; without it they are left alone
    #[arg(long, hide_short_help = true)]
    pub split_huge: bool,

    /// Count reads as well as writes (needs a kernel with read-write protection)
    #[arg(long, hide_short_help = true)]
    pub rewrites_reads: bool,
}

/// Two percent of one processor.
const BUDGET: f64 = 0.02;
/// A shorter period would be spent on scanning alone.
const SHORTEST: Duration = Duration::from_millis(1);

/// A percentage over 0, up to 100, with or without its sign.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("give a percentage over 0 and up to 100, such as 2%".to_owned()),
    }
}

impl RewriteOptions {
    /// Says early what this kernel cannot do.
    ///
    /// # Errors
    /// One line.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.rewrites_reads {
            bail!(
                "cannot count reads: this kernel has no read-write protection by userfaultfd (RWP), \
                 nor has any that is released; leave out --rewrites-reads"
            );
        }
        if self.settings().is_none() {
            if self.split_huge || self.rewrites_budget.is_some() {
                bail!("--split-huge and --rewrites-budget are for --rewrites; give that too");
            }
            return Ok(());
        }
        if self.rewrites.is_some_and(|period| period < SHORTEST) {
            bail!(
                "--rewrites={:?} is too short: give 0.001 or more",
                self.rewrites.unwrap_or_default()
            );
        }
        if let Err(why) = rewrite::available() {
            bail!("cannot watch memory for writes: {why}; leave out --rewrites");
        }
        Ok(())
    }

    /// The same for a session.
    #[must_use]
    pub fn settings(&self) -> Option<RewriteSettings> {
        (self.rewrites.is_some() || self.rewrites_all).then(|| RewriteSettings {
            exact: self.rewrites_all,
            period: self.rewrites.unwrap_or(Duration::from_secs(1)),
            budget: self.rewrites_budget.unwrap_or(BUDGET),
            split_huge: self.split_huge,
        })
    }
}
