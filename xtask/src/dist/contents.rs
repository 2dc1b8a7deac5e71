//! Which files are installed.
//!
//! Comes in: the sources and the program. Goes out: files with their places below `/usr` (or
//! `/usr/local`), sorted. Manual pages and completions are what the program itself prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::build::{Built, Source};
use super::notices;
use crate::steps;

/// One file.
pub struct File {
    /// Its place, relative to `/usr`.
    pub path: String,
    /// Whether it is a program.
    pub program: bool,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The folder of documents.
pub const DOCUMENTS: &str = "share/doc/rmap";
/// The folder of the manual.
pub const MANUAL: &str = "share/man/man1";
/// Shell, and the place of its completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/rmap"),
    ("zsh", ZSH),
    ("fish", "share/fish/vendor_completions.d/rmap.fish"),
];
/// Where zsh looks below `/usr/local`, and where Debian's does below `/usr`.
pub const ZSH: &str = "share/zsh/site-functions/_rmap";
pub const ZSH_DEBIAN: &str = "share/zsh/vendor-completions/_rmap";

/// All of them.
pub fn of(source: &Source, built: &Built) -> Result<Vec<File>> {
    let mut files =
        vec![File { path: "bin/rmap".to_owned(), program: true, bytes: built.program.clone() }];
    let mut add = |path: String, bytes: Vec<u8>| files.push(File { path, program: false, bytes });
    for (name, bytes) in manual(source, built)? {
        add(format!("{MANUAL}/{name}"), bytes);
    }
    for (shell, path) in COMPLETIONS {
        let mut rmap = Command::new(&built.path);
        let mut text = steps::output("make completions", rmap.args(["completions", shell]))?;
        text.push('\n');
        add(path.to_owned(), text.into_bytes());
    }
    for name in ["README.md", "CHANGELOG.md", "SECURITY.md"] {
        add(format!("{DOCUMENTS}/{name}"), read(&source.root.join(name))?);
    }
    // What the README leads to; pictures stay behind.
    for (name, bytes) in folder(&source.root.join("docs"))? {
        if [".md", ".schema.json"].iter().any(|end| name.ends_with(end)) {
            add(format!("{DOCUMENTS}/docs/{name}"), bytes);
        }
    }
    for (name, bytes) in notices::of(source, built)? {
        add(format!("{DOCUMENTS}/{name}"), bytes);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn manual(source: &Source, built: &Built) -> Result<Vec<(String, Vec<u8>)>> {
    let pages = source.target.join("manual");
    if pages.exists() {
        fs::remove_dir_all(&pages).with_context(|| format!("cannot remove {}", pages.display()))?;
    }
    fs::create_dir_all(&pages).with_context(|| format!("cannot make {}", pages.display()))?;
    steps::run("write the manual", Command::new(&built.path).args(["man", "--to"]).arg(&pages))?;
    folder(&pages)
}

/// The files of a folder, by name.
fn folder(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let list = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in list {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        if entry.path().is_file() {
            files.push((entry.file_name().to_string_lossy().into_owned(), read(&entry.path())?));
        }
    }
    Ok(files)
}

/// A file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
