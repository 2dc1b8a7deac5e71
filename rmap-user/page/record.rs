//! What the built page was made from, as text that two programs compare.
//!
//! Comes in: the root of the workspace. Goes out: the lines of `built/SOURCES`, one a file: `file SHA256
//! PATH` for each source, `page SHA256 page.html` for the page itself. This file is compiled into
//! `cargo xtask page`, which writes them, and into the build script of rmap-user, which refuses a page
//! whose lines are no longer true. Neither needs node.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Where the page's sources are, relative to the workspace.
pub const FOLDER: &str = "rmap-user/page";
/// The built page, inside of [`FOLDER`].
pub const PAGE: &str = "built/page.html";
/// The record, inside of [`FOLDER`].
pub const SOURCES: &str = "built/SOURCES";
/// The one command that makes both anew.
pub const COMMAND: &str = "cargo xtask page";

/// Files beside the folder `src` that shape the page.
const BESIDE: &[&str] = &["package.json", "package-lock.json", "tsconfig.json"];

/// The lower-case hex SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The record as it would be written now.
///
/// # Errors
/// One line that names the file that could not be read.
pub fn current(root: &Path) -> Result<String, String> {
    let folder = root.join(FOLDER);
    let mut files: Vec<PathBuf> = BESIDE.iter().map(PathBuf::from).collect();
    let list = fs::read_dir(folder.join("src")).map_err(|error| cannot("src", &error))?;
    for entry in list {
        let entry = entry.map_err(|error| cannot("src", &error))?;
        files.push(Path::new("src").join(entry.file_name()));
    }
    files.sort();
    let mut record = String::new();
    for file in files {
        record.push_str(&line("file", &folder, &file.display().to_string())?);
    }
    record.push_str(&line("page", &folder, PAGE)?);
    Ok(record)
}

/// Why the kept page is not what its sources give; `None` if it is.
///
/// # Errors
/// One line that names the file that could not be read.
pub fn stale(root: &Path) -> Result<Option<String>, String> {
    let kept = fs::read_to_string(root.join(FOLDER).join(SOURCES))
        .map_err(|error| cannot(SOURCES, &error))?;
    let current = current(root)?;
    let differs = |a: &str, b: &str| {
        a.lines().find(|line| !b.lines().any(|other| other == *line)).map(str::to_owned)
    };
    let found = differs(&current, &kept).or_else(|| differs(&kept, &current));
    Ok(found.map(|line| format!("{} has changed", line.rsplit(' ').next().unwrap_or_default())))
}

fn line(what: &str, folder: &Path, file: &str) -> Result<String, String> {
    let bytes = fs::read(folder.join(file)).map_err(|error| cannot(file, &error))?;
    Ok(format!("{what} {} {file}\n", sha256(&bytes)))
}

fn cannot(file: &str, error: &std::io::Error) -> String {
    format!("cannot read {FOLDER}/{file}: {error}")
}
