//! Pages in a headless browser.
//!
//! Comes in: the recordings of the tests and hostile reports, as pages; node, playwright-core, Chromium.
//! Goes out: whether what the pages show is what their data says (`rmap-user/page/test`), or pictures of
//! three programs that are traced for it, as root.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use super::{install, node, record};
use crate::apt;
use crate::steps::{self, say};

/// Where Chromium is looked for.
const BROWSERS: &[&str] = &["chromium", "chromium-headless-shell", "google-chrome", "chrome"];

/// Looks at pages, or makes pictures of them for `docs/`.
pub fn run(pictures: bool) -> Result<ExitCode> {
    let missing = |what: &str| {
        say(&format!("skipped: {what}"));
        Ok(ExitCode::from(steps::CANNOT))
    };
    if apt::why_not().is_none() && !BROWSERS.iter().any(|name| steps::which(name).is_some()) {
        // What cannot be had is said below.
        let _ = apt::install(&["chromium"]);
    }
    let Some(browser) = BROWSERS.iter().find_map(|name| steps::which(name)) else {
        return missing("no Chromium is here (Debian: apt-get install chromium)");
    };
    if steps::which("npm").is_none() {
        return missing("node and npm are not here");
    }
    let folder = steps::root().join(record::FOLDER);
    install(&folder)?;
    let work = steps::target_dir().join(if pictures { "pictures" } else { "page" });
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    if pictures {
        trace(&folder.join("test/programs"), &work)?
    } else {
        make_pages(&work)?
    }
    let mut test = node(&folder, "node");
    test.arg("test/look.mjs").arg(browser).arg(&work);
    if pictures {
        test.arg(steps::root().join("docs/pictures"));
    }
    steps::run("look at the pages", &mut test)?;
    Ok(ExitCode::SUCCESS)
}

/// Pages, each with the JSON that it was made with beside it.
fn make_pages(work: &Path) -> Result<()> {
    let mut cargo = steps::cargo();
    cargo.env("RMAP_PAGES", work).args([
        "test",
        "-p",
        "rmap-user",
        "--test",
        "view",
        "--",
        "pages",
    ]);
    steps::run("make the pages", &mut cargo)
}

/// Pages of the programs that the pictures show.
fn trace(programs: &Path, work: &Path) -> Result<()> {
    ensure!(steps::is_root(), "the programs of the pictures are traced, which needs root");
    let mut build = steps::cargo();
    build.args(["build", "-p", "rmap-user", "--bin", "rmap"]);
    steps::run("build rmap", &mut build)?;
    for program in ["fork-server", "database"] {
        let mut compiler = steps::clean("cc");
        compiler.current_dir(work).args(["-g", "-O1", "-o", program]);
        compiler.arg(programs.join(program).with_extension("c"));
        steps::run(&format!("compile {program}.c"), &mut compiler)?;
    }
    let script = programs.join("leak.py");
    fs::copy(script, work.join("leak.py")).context("cannot copy leak.py")?;
    // Not a script that looks for the interpreter first.
    let debian = Path::new("/usr/bin/python3").exists();
    let python = if debian { "/usr/bin/python3" } else { "python3" };
    for (name, command) in [
        ("leak", &[python, "leak.py"][..]),
        ("fork-server", &["./fork-server"]),
        ("database", &["./database", "/var/tmp/rmap-picture.db"]),
    ] {
        let rmap = || {
            let mut rmap = steps::clean(steps::target_dir().join("debug/rmap"));
            rmap.current_dir(work);
            rmap
        };
        let recording = format!("{name}.rmap");
        let mut run = rmap();
        run.args(["run", "-o", "/dev/null", "--record", &recording, "--"]).args(command);
        steps::run(&format!("trace {name}"), &mut run)?;
        let mut report = rmap();
        report.args(["report", &recording, "-o", "/dev/null", "--html"]);
        steps::run(&format!("make the page of {name}"), report.arg(format!("{name}.html")))?;
    }
    // A file that the program made on a disk: memory is no place for a database's file.
    fs::remove_file("/var/tmp/rmap-picture.db").context("cannot remove the database's file")
}
