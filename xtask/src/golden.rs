//! `cargo xtask golden`: writes the golden files of what people and programs read anew.
//!
//! Comes in: the cases of `rmap-user/tests/view` and the recordings in `tests/recordings`. Goes out:
//! `rmap-user/tests/view/golden`, the tables of causes and reasons in `docs/report.md`, and the JSON
//! Schemas in `docs`, to be read before they are kept. With `--record` the recordings are
//! made anew first, by the programs beside them, traced as root.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::steps::{self, say};

/// Where the programs are built and run: recordings hold the paths of what was recorded, and these
/// are to be the same on every machine.
const FOLDER: &str = "/tmp/rmap-golden";

/// What is recorded: the recording, the program, its arguments.
const RECORDINGS: [(&str, &str, &[&str]); 3] =
    [("plain", "plain", &["8"]), ("more", "plain", &["24"]), ("forked", "forked", &[])];

/// What to make.
#[derive(Args)]
pub struct Options {
    /// Record the programs anew first; needs root, BPF and a C compiler.
    #[arg(long)]
    record: bool,
}

/// Runs `cargo xtask golden`.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.record {
        record()?;
    }
    for tests in [&["--test", "view"][..], &["--lib", "report::schema_tests"]] {
        let mut cargo = steps::cargo();
        cargo.env("RMAP_BLESS", "1").args(["test", "-p", "rmap-user"]).args(tests);
        steps::run("write the golden files", &mut cargo)?;
    }
    say(
        "written; look at what changed before you keep it: git diff rmap-user/tests/view/golden docs",
    );
    Ok(ExitCode::SUCCESS)
}

fn record() -> Result<()> {
    ensure!(steps::is_root(), "recording needs root");
    let mut build = steps::cargo();
    build.args(["build", "-p", "rmap-user", "--bin", "rmap"]);
    steps::run("build rmap", &mut build)?;
    let folder = Path::new(FOLDER);
    std::fs::create_dir(folder)
        .with_context(|| format!("cannot make {FOLDER}; remove it if it was left over"))?;
    let done = record_in(folder);
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {FOLDER}"))?;
    done
}

fn record_in(folder: &Path) -> Result<()> {
    let kept = steps::root().join("tests/recordings");
    for program in ["plain", "forked"] {
        let source = format!("{program}.c");
        std::fs::copy(kept.join(&source), folder.join(&source))
            .with_context(|| format!("cannot copy {source}"))?;
        let mut compiler = steps::clean("cc");
        // What is on disk already is not dirty in the page cache when it is mapped.
        compiler.current_dir(folder).args(["-g", "-O1", "-o", program, &source]);
        steps::run(&format!("compile {source}"), &mut compiler)?;
    }
    steps::run("write the programs to the disk", &mut steps::clean("sync"))?;
    for (name, program, arguments) in RECORDINGS {
        let mut rmap = steps::clean(steps::target_dir().join("debug/rmap"));
        rmap.current_dir(folder).args(["run", "-o", "/dev/null", "--record"]);
        rmap.arg(kept.join(name).with_extension("rmap")).arg("--");
        rmap.arg(format!("./{program}")).args(arguments);
        steps::run(&format!("record {name}"), &mut rmap)?;
    }
    Ok(())
}
