//! A setting of the whole machine, changed for as long as a test needs it.
//!
//! Comes in: a file of `/proc/sys` or `/sys` and what to write. Goes out: a guard that writes back
//! what was there. It holds a lock on that file: tests of another checkout that need the same one
//! wait instead of undoing it.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// A setting that is another one now.
pub struct Setting {
    path: PathBuf,
    before: String,
    _turn: Flock<File>,
}

impl Setting {
    /// Writes the value.
    ///
    /// # Errors
    /// The machine does not have the setting, or did not take the value: then why.
    pub fn set(path: &Path, value: &str) -> Result<Self, String> {
        let refused =
            |why: &dyn std::fmt::Display| format!("{} cannot be {value}: {why}", path.display());
        let file = File::open(path).map_err(|error| refused(&error))?;
        let turn = Flock::lock(file, FlockArg::LockExclusive);
        let turn = turn.map_err(|(_, error)| refused(&error))?;
        let before = read(path).map_err(|error| refused(&error))?;
        let setting = Self { path: path.to_owned(), before, _turn: turn };
        for again in [true, false] {
            std::fs::write(path, value).map_err(|error| refused(&error))?;
            let now = read(path).map_err(|error| refused(&error))?;
            if now == value {
                break;
            }
            if !again {
                return Err(refused(&format!("it is {now}")));
            }
            // Huge pages are reserved as far as memory is in pieces of that size.
            let _ = std::fs::write("/proc/sys/vm/compact_memory", "1");
        }
        Ok(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, &self.before) {
            eprintln!("{}: it stays changed: {error}", self.path.display());
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path).map(|text| chosen(&text).to_owned())
}

/// Of several words the one in brackets, else all.
fn chosen(text: &str) -> &str {
    let text = text.trim();
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or(text, |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn of_several_words_the_one_in_brackets_is_the_setting() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen("10000\n"), "10000");
    }
}
