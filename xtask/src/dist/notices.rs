//! The licences of all that is in the program.
//!
//! Comes in: `cargo metadata`, the packages' own files, the compiler's and Debian's. Goes out:
//! `copyright`, one text with every licence, and the compiler's page about its library. What is in
//! the program: rmap and its probes, the packages that they use, Rust's library, and the archives of
//! glibc and GCC that it is linked with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::build::{Built, Source, folder_of, packages};
use super::contents::read;
use crate::steps;

/// How files begin that state a licence.
const BEGINNINGS: [&str; 5] = ["license", "licence", "unlicense", "copying", "copyright"];
/// Archives that every program is linked with here; Debian's packages of them have the licences.
const ARCHIVES: [&str; 2] = ["libc.a", "libgcc_eh.a"];
/// What those packages only name.
const COMMON: [&str; 2] = ["LGPL-2.1", "GPL-3"];
const LINE: &str = "------------------------------------------------------------------------";

/// The documents, by name.
pub fn of(source: &Source, built: &Built) -> Result<Vec<(String, Vec<u8>)>> {
    let mut text = String::from(
        "rmap is under the MIT licence or the Apache licence 2.0, at your choice; the probes in it,\n\
         which are loaded into the kernel, are under the GNU GPL 2.0. This file has the licences of\n\
         all that is in the program: rmap's own, those of the packages it is made of, and those of\n\
         the C library and of GCC's, with which it is linked statically.\n\n\
         The GNU C library is under the LGPL 2.1: you may replace it. rmap's sources and\n\
         `cargo xtask dist` link it with any other version of it.\n",
    );
    for name in ["LICENSE-MIT", "LICENSE-APACHE", "LICENSE-GPL2"] {
        section(&mut text, &format!("rmap: {name}"), &read(&source.root.join(name))?);
    }
    of_packages(&mut text, &built.metadata)?;
    of_archives(&mut text)?;
    Ok(vec![
        ("copyright".to_owned(), text.into_bytes()),
        ("copyright-rust-library.html".to_owned(), of_rust()?),
    ])
}

fn section(text: &mut String, title: &str, body: &[u8]) {
    let body = String::from_utf8_lossy(body);
    let _ = write!(text, "\n{LINE}\n{title}\n{LINE}\n\n{}\n", body.trim());
}

/// Each text once, with the packages that have it.
fn of_packages(text: &mut String, metadata: &Value) -> Result<()> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let linked: Vec<&Value> = linked(metadata)?;
    let _ = write!(text, "\n{LINE}\nPackages of Rust code in the program\n{LINE}\n\n");
    for package in linked.iter().filter(|package| !package["source"].is_null()) {
        let word = |key: &str| package[key].as_str().unwrap_or("not stated");
        let name = format!("{} {}", word("name"), word("version"));
        let authors = package["authors"].as_array().into_iter().flatten();
        let authors: Vec<&str> = authors.filter_map(Value::as_str).collect();
        let files = licences(folder_of(package).context("a package without a folder")?)?;
        let no_text = if files.is_empty() { "; it brings no text of it" } else { "" };
        let by =
            if authors.is_empty() { String::new() } else { format!(", by {}", authors.join(", ")) };
        let _ = writeln!(text, "{name}{by}: {}{no_text}", word("license"));
        for file in files {
            let body = String::from_utf8_lossy(&read(&file)?).trim().to_owned();
            texts.entry(body).or_default().insert(name.clone());
        }
    }
    for (body, names) in texts {
        let names: Vec<String> = names.into_iter().collect();
        section(text, &names.join(", "), body.as_bytes());
    }
    Ok(())
}

/// The files in a package's folder that state a licence, by name.
fn licences(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))?;
    let states = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        path.is_file() && BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
    };
    let mut files: Vec<PathBuf> = list.flatten().map(|entry| entry.path()).filter(states).collect();
    files.sort();
    Ok(files)
}

/// The packages of which there is code in the program, by name. What only runs in the compiler
/// (macros, build scripts) is not in it.
fn linked(metadata: &Value) -> Result<Vec<&Value>> {
    let by_id: BTreeMap<&str, &Value> =
        packages(metadata).filter_map(|package| Some((package["id"].as_str()?, package))).collect();
    let nodes =
        metadata["resolve"]["nodes"].as_array().context("cargo metadata resolves nothing")?;
    let edges: BTreeMap<&str, &Value> =
        nodes.iter().filter_map(|node| Some((node["id"].as_str()?, &node["deps"]))).collect();
    let is_macro = |package: &Value| {
        let targets = package["targets"].as_array().into_iter().flatten();
        let kinds = targets.filter_map(|target| target["kind"].as_array()).flatten();
        kinds.into_iter().any(|kind| kind == "proc-macro")
    };
    let mut open: Vec<&str> = by_id
        .iter()
        .filter(|(_, package)| package["name"] == "rmap-user")
        .map(|(id, _)| *id)
        .collect();
    let mut seen: BTreeMap<(&str, &str), &Value> = BTreeMap::new();
    while let Some(id) = open.pop() {
        let Some(package) = by_id.get(id).filter(|package| !is_macro(package)) else { continue };
        let word = |key: &str| package[key].as_str().unwrap_or_default();
        if seen.insert((word("name"), word("version")), package).is_some() {
            continue;
        }
        let edges = edges.get(id).and_then(|deps| deps.as_array()).into_iter().flatten();
        let is_linked = |edge: &&Value| {
            let kinds = edge["dep_kinds"].as_array().into_iter().flatten();
            kinds.into_iter().any(|kind| kind["kind"].is_null())
        };
        open.extend(edges.filter(is_linked).filter_map(|edge| edge["pkg"].as_str()));
    }
    Ok(seen.into_values().collect())
}

/// The C library and GCC's, by Debian's packages of them.
fn of_archives(text: &mut String) -> Result<()> {
    const WHERE: &str =
        "the licences of the C library are those of Debian's package; build on Debian";
    for archive in ARCHIVES {
        let mut gcc = Command::new("gcc");
        let path =
            steps::output("find an archive", gcc.arg(format!("-print-file-name={archive}")))?;
        let path = Path::new(&path)
            .canonicalize()
            .with_context(|| format!("{archive} is not here: install gcc and libc6-dev"))?;
        let mut query = Command::new("dpkg-query");
        // On systems with /usr merged the package may know it by either name.
        let plain =
            path.strip_prefix("/usr").map_or(path.clone(), |rest| Path::new("/").join(rest));
        query.arg("-S").arg(&path);
        let owner = steps::output("ask dpkg for a package", &mut query).or_else(|_| {
            let mut query = Command::new("dpkg-query");
            steps::output("ask dpkg for a package", query.arg("-S").arg(plain))
        });
        let owner = owner.context(WHERE)?;
        let package = owner.split([':', ',']).next().unwrap_or_default().to_owned();
        let mut query = Command::new("dpkg-query");
        query.args(["-W", "-f=${source:Package} ${source:Version}", &package]);
        let version = steps::output("ask dpkg for a version", &mut query)?;
        let stated = Path::new("/usr/share/doc").join(&package).join("copyright");
        let title = format!("{archive}, from Debian's {package}; its sources: {version}");
        section(text, &title, &read(&stated).context(WHERE)?);
    }
    for name in COMMON {
        let path = Path::new("/usr/share/common-licenses").join(name);
        section(text, name, &read(&path).context(WHERE)?);
    }
    Ok(())
}

/// What the compiler says of its library.
fn of_rust() -> Result<Vec<u8>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let root = steps::output(
        "ask the compiler for its folder",
        Command::new(rustc).args(["--print", "sysroot"]),
    )?;
    let page = Path::new(&root).join("share/doc/rust/COPYRIGHT-library.html");
    read(&page).context("the compiler comes without the licences of its library; use rustup's")
}
