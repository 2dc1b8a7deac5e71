//! `docs/benchmarks.md`: the tables of the last run, and what people wrote about them.
//!
//! Comes in: the tables. Goes out: the file; what stands behind its mark is kept.

use anyhow::{Context as _, Result};

use crate::steps;

/// Everything from here on is written by hand.
const MARK: &str = "## Where the time goes";

/// Writes the tables in the place of the old ones.
pub fn write(tables: &str) -> Result<()> {
    let path = steps::root().join("docs/benchmarks.md");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let notes = old.find(MARK).map_or(MARK, |at| &old[at..]);
    let text = format!(
        "<!-- `cargo xtask bench --write` writes the tables; what follows \"{}\" is kept. -->\n\n\
         {}\n\n{}\n",
        MARK.trim_start_matches("## "),
        tables.trim_end(),
        notes.trim_end()
    );
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
