//! Files of the command line, with errors as the commands have them. See [`crate::output`].

use std::io::{self, Write};
use std::path::Path;

use crate::output;
pub use output::unless_gone;

/// As [`output::check`].
///
/// # Errors
/// A file that could not be made.
pub fn check(path: &Path) -> anyhow::Result<()> {
    Ok(output::check(path)?)
}

/// As [`output::save`].
///
/// # Errors
/// What was attempted on which file.
pub fn save(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> anyhow::Result<()> {
    Ok(output::save(path, write)?)
}
