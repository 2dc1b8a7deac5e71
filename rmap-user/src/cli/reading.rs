//! What the commands that read recordings have in common: where they look for symbols, and what
//! they say of a file on stderr.
//!
//! Comes in: arguments, a file that was read. Goes out: how it is read; lines on stderr.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::replay::{Loaded, Reading};
use crate::report::Asked;
use crate::symbol::Folders;

/// Options of every command that reads a recording.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadingOptions {
    /// Look for missing names in DIR too, by build id; may be repeated
    #[arg(
        long,
        value_name = "DIR",
        hide_short_help = true,
        long_help = "Look for names that the recording lacks, or has no lines for, in DIR too: in \
                     .build-id/xx/yyyy.debug below it, in xx/yyyy.debug, and in every ELF file in it, \
                     whatever its name. Only a file with the build id of what was mapped is used. May \
                     be repeated. Then, and for users other than root always, the paths that the \
                     recording names and /usr/lib/debug are looked in too"
    )]
    pub symbols: Vec<PathBuf>,

    /// Take the recording's own names only, and open no other file
    #[arg(long, hide_short_help = true, conflicts_with = "symbols")]
    pub no_names: bool,
}

impl ReadingOptions {
    /// How a recording is to be read.
    ///
    /// # Errors
    /// A folder with symbols cannot be read.
    pub fn reading(&self, asked: Asked) -> anyhow::Result<Reading> {
        let symbols = if self.no_names {
            Folders::alone()
        } else if self.symbols.is_empty() && nix::unistd::geteuid().is_root() {
            Folders::unasked()
        } else {
            Folders::new(self.symbols.clone())?
        };
        Ok(Reading { asked, symbols: Arc::new(symbols) })
    }
}

/// Says what a person should know of a file that was read.
pub fn remark(loaded: &Loaded, path: &Path) {
    remark_on(loaded.cut_at, &loaded.notes, &path.display().to_string());
}

/// The same of whatever is called so.
pub fn remark_on(cut_at: Option<u64>, notes: &[String], called: &str) {
    if let Some(at) = cut_at {
        super::complain(&anyhow::anyhow!(
            "{called} ends at byte {at}, before the session did: what came before is told"
        ));
    }
    notes.iter().for_each(|note| super::complain(&anyhow::anyhow!("{note}")));
}
