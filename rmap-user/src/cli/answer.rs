//! The options of every command that prints a report: how its bytes are grouped, and how much of
//! it is shown.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::insight::group::KEYS;
use crate::insight::json::Schema;
use crate::insight::tree::Direction;
use crate::insight::{By, Rules};
use crate::view::columns::{EXTRAS, Extra};

/// No file of rules is larger.
const LARGEST_RULES: u64 = 4 << 20;

/// Which answer is asked for.
#[derive(Clone, Debug, Default, Args)]
pub struct AnswerOptions {
    /// Show every table: segments, call paths, what was freed
    #[arg(long, conflicts_with_all = ["by", "tree", "reverse"])]
    pub full: bool,

    /// Group by owner, path, function, segment, kind, cause, …
    #[arg(
        long,
        value_name = "KEY,…",
        value_delimiter = ',',
        value_parser = key,
        long_help = "Group the bytes by these keys, the second inside of the first: owner, path, \
                     function (with all that it called), line, module, segment, kind, cause, \
                     thread, process, program"
    )]
    pub by: Vec<By>,

    /// Show the segments with these columns: pss, private, shared, swap, …
    #[arg(
        long,
        value_name = "COLUMN,…",
        value_delimiter = ',',
        value_parser = column,
        conflicts_with_all = ["full", "by", "tree", "reverse"],
        hide_short_help = true,
        long_help = "Show the segments with these columns beside RSS and Dirty: pss, private, \
                     shared, swap, lazyfree, anonhuge, locked, ksm, touched"
    )]
    pub columns: Vec<Extra>,

    /// Show the call paths as a tree, callers above callees
    #[arg(
        long,
        conflicts_with = "by",
        num_args = 0,
        default_missing_value = "",
        value_parser = tree
    )]
    pub tree: Option<Tree>,

    /// Show the tree from the leaf: callees above callers
    #[arg(long, conflicts_with = "by", hide_short_help = true)]
    pub reverse: bool,

    /// Leave the advice out
    #[arg(long, hide_short_help = true)]
    pub no_advice: bool,

    /// How the JSON is written.
    #[command(flatten)]
    pub json: JsonOptions,
}

/// What the JSON of a report has beside its figures, and in which form.
#[derive(Clone, Debug, Default, Args)]
pub struct JsonOptions {
    /// Read rules for owner frames from FILE, before those that rmap brings along
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub rules: Option<PathBuf>,

    /// Write the JSON as rmap.report/N, 1 or 2
    #[arg(
        long,
        value_name = "N",
        hide_short_help = true,
        value_parser = clap::value_parser!(u8).range(1..=2),
        long_help = "Write the JSON as rmap.report/N: 1 has every process in full, 2 states like \
                     processes once. Without it, 2 where that spares 32 processes or more"
    )]
    pub json_schema: Option<u8>,
}

/// What `--tree` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// The call paths as a tree.
    Paths,
    /// These processes with their descendants (`attach` alone).
    Processes(Vec<u32>),
}

/// Process ids, or nothing.
fn tree(text: &str) -> Result<Tree, String> {
    if text.is_empty() {
        return Ok(Tree::Paths);
    }
    let number = |word: &str| word.trim().parse::<u32>().ok().filter(|pid| *pid > 0);
    let pids: Option<Vec<u32>> = text.split(',').map(number).collect();
    pids.map(Tree::Processes).ok_or_else(|| "give process ids, such as 4711 or 12,34".to_owned())
}

/// A key by its name.
///
/// # Errors
/// The names that there are.
pub fn key(text: &str) -> Result<By, String> {
    By::of_name(text).ok_or_else(|| {
        let names: Vec<&str> = KEYS.iter().map(|(_, name)| *name).collect();
        format!("use {}", names.join(", "))
    })
}

/// A column by its name.
///
/// # Errors
/// The names that there are.
pub fn column(text: &str) -> Result<Extra, String> {
    Extra::of_name(text).ok_or_else(|| {
        let names: Vec<&str> = EXTRAS.iter().map(|(_, name, _)| *name).collect();
        format!("use {}", names.join(", "))
    })
}

/// The rules in a file, and behind them those that rmap brings along.
///
/// # Errors
/// A file that cannot be read, or what is wrong in which of its lines.
pub fn rules(path: Option<&Path>) -> anyhow::Result<Rules> {
    let Some(path) = path else { return Ok(Rules::built_in()) };
    let read = || -> anyhow::Result<Rules> {
        let size = fs::metadata(path)?.len();
        ensure!(size <= LARGEST_RULES, "it is larger than {} MiB", LARGEST_RULES >> 20);
        Ok(Rules::with_own(&fs::read_to_string(path)?)?)
    };
    read().with_context(|| format!("cannot read rules from {}", path.display()))
}

impl JsonOptions {
    /// The form that was asked for.
    #[must_use]
    pub const fn schema(&self) -> Schema {
        match self.json_schema {
            None => Schema::Fitting,
            Some(1) => Schema::First,
            Some(_) => Schema::Second,
        }
    }

    /// The rules for frames: the user's, and behind them those that rmap brings along.
    ///
    /// # Errors
    /// A file that cannot be read, or what is wrong in which of its lines.
    pub fn rules(&self) -> anyhow::Result<Rules> {
        rules(self.rules.as_deref())
    }
}

impl AnswerOptions {
    /// Whether a tree is asked for, and from which end.
    #[must_use]
    pub const fn direction(&self) -> Option<Direction> {
        match (&self.tree, self.reverse) {
            (_, true) => Some(Direction::FromLeaf),
            (Some(Tree::Paths), false) => Some(Direction::FromRoot),
            (_, false) => None,
        }
    }
}
