//! The source files that tests look at.

#![expect(clippy::unwrap_used, reason = "a folder that cannot be read fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files below `folder`, without what was built there.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
