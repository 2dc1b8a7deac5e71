//! `cargo xtask page`: the page of `--html` from its sources, kept in `rmap-user/page/built`.
//!
//! Comes in: TypeScript, a style sheet and a frame of HTML in `rmap-user/page/src`; node and npm. Goes
//! out: `built/page.html`, one file with a policy that allows its own script and style alone, and
//! `built/SOURCES`, the record of what it was made from. With `--check` both are compared with what is
//! kept. With `--test` a browser looks at pages, see [`browser`].

mod browser;
#[path = "../../../rmap-user/page/record.rs"]
mod record;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::steps::{self, say};

/// What to do with the page.
#[derive(Args)]
pub struct Options {
    /// Build it and say whether the kept page is the same; keep nothing.
    #[arg(long)]
    check: bool,
    /// Open pages in a headless browser and compare what they show with their data.
    #[arg(long, conflicts_with = "check")]
    test: bool,
    /// Write the pictures of docs/ anew, with the same browser.
    #[arg(long, conflicts_with = "check")]
    pictures: bool,
}

/// Runs `cargo xtask page`.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.test || options.pictures {
        return browser::run(options.pictures);
    }
    let folder = steps::root().join(record::FOLDER);
    if options.check
        && let Some(reason) = record::stale(&steps::root()).map_err(|line| anyhow!(line))?
    {
        println!("the kept page is stale: {}/{reason}; run {}", record::FOLDER, record::COMMAND);
        return Ok(ExitCode::FAILURE);
    }
    let page = build(&folder)?;
    let kept = folder.join(record::PAGE);
    if options.check {
        if fs::read_to_string(&kept).ok().as_deref() == Some(&*page) {
            println!("{}/{} is what its sources give", record::FOLDER, record::PAGE);
            return Ok(ExitCode::SUCCESS);
        }
        println!("{}/{} is not what its sources give", record::FOLDER, record::PAGE);
        return Ok(ExitCode::FAILURE);
    }
    fs::write(&kept, &page).with_context(|| format!("cannot write {}", kept.display()))?;
    let sources = record::current(&steps::root()).map_err(|line| anyhow!(line))?;
    let path = folder.join(record::SOURCES);
    fs::write(&path, sources).with_context(|| format!("cannot write {}", path.display()))?;
    say(&format!("written: {} ({} KiB)", kept.display(), page.len() / 1024));
    Ok(ExitCode::SUCCESS)
}

/// A command of node's, in the page's folder.
fn node(folder: &Path, program: &str) -> Command {
    let mut command = steps::clean(program);
    command.current_dir(folder);
    command
}

/// What npm installs, as the lock file has it.
fn install(folder: &Path) -> Result<PathBuf> {
    ensure!(
        steps::which("npm").is_some(),
        "the page is built by node and npm, which are not here; the kept page needs neither"
    );
    let modules = folder.join("node_modules");
    let installed = modules.join(".package-lock.json");
    let time = |path: &Path| fs::metadata(path).and_then(|of| of.modified()).ok();
    if time(&installed) < time(&folder.join("package-lock.json")) {
        let mut npm = node(folder, "npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        steps::run("install the page's packages", &mut npm)?;
    }
    Ok(modules)
}

/// The page from its sources.
fn build(folder: &Path) -> Result<String> {
    let modules = install(folder)?;
    let tool = |name: &str| {
        let mut command = node(folder, "node");
        command.arg(modules.join(name));
        command
    };
    steps::run("check the page's types", tool("typescript/bin/tsc").args(["-p", "."]))?;
    let bundle = |entry: &str, more: &[&str]| {
        let mut esbuild = tool("esbuild/bin/esbuild");
        esbuild.args([entry, "--bundle", "--minify", "--charset=utf8", "--legal-comments=none"]);
        steps::output(&format!("bundle {entry}"), esbuild.arg("--target=es2022").args(more))
    };
    let script = bundle("src/main.ts", &["--format=iife"])?;
    let style = bundle("src/style.css", &[])?;
    let licence = fs::read_to_string(modules.join("uplot/LICENSE"))
        .context("cannot read the licence of uPlot")?;
    let frame = fs::read_to_string(folder.join("src/index.html"))
        .context("cannot read the page's frame, src/index.html")?;
    fill(&frame, &script, &style, &licence)
}

/// Puts script and style into the frame, and their hashes into its policy.
fn fill(frame: &str, script: &str, style: &str, licence: &str) -> Result<String> {
    for (what, text) in [("script", script), ("style", style), ("licence", licence)] {
        let lower = text.to_lowercase();
        for end in ["</script", "</style", "<!--", "-->", "%rmap-"] {
            ensure!(!lower.contains(end), "the {what} holds {end:?}, which would end it in HTML");
        }
    }
    let mut page = String::new();
    let mut rest = frame;
    for (place, text) in [
        ("%SCRIPT-HASH%", &*hash(script)),
        ("%STYLE-HASH%", &hash(style)),
        ("%LICENCE%", licence),
        ("%STYLE%", style),
        ("%SCRIPT%", script),
    ] {
        let (before, after) =
            rest.split_once(place).with_context(|| format!("the page's frame lacks {place}"))?;
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// A source of a content security policy: the hash of what may run.
fn hash(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = "sha256-".to_owned();
    // 32 bytes: ten groups of three and one of two.
    for chunk in Sha256::digest(text.as_bytes()).chunks(3) {
        let bits = (0..3)
            .fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for place in 0..4 {
            let letter = char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]);
            out.push(if place > chunk.len() { '=' } else { letter });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_has_the_hash_of_what_stands_between_the_tags() {
        let frame = "'%SCRIPT-HASH%' '%STYLE-HASH%' %LICENCE% <style>%STYLE%</style><script>%SCRIPT%</script>";
        let page = fill(frame, "alert('Hello, world.');", "a{}", "MIT").unwrap();
        // The example of Content Security Policy Level 3, 8.
        assert!(page.contains("sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="), "{page}");
        assert!(fill(frame, "'</script>'", "", "").is_err());
        assert!(fill("", "", "", "").is_err());
    }
}
