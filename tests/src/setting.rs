//! A setting of the whole machine, changed for as long as a test needs it.
//!
//! Comes in: a file of `/proc/sys` or `/sys` and what to write. Goes out: a guard that writes back
//! what was there.

use std::path::{Path, PathBuf};

/// A setting that is another one now.
pub struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    /// Writes the value; `None` if the machine does not have it, or does not take it.
    #[must_use]
    pub fn set(path: &Path, value: &str) -> Option<Self> {
        let before = std::fs::read_to_string(path).ok()?;
        let setting = Self { path: path.to_owned(), before: chosen(&before).to_owned() };
        std::fs::write(path, value).ok()?;
        Some(setting)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, &self.before) {
            eprintln!("{}: it stays changed: {error}", self.path.display());
        }
    }
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
