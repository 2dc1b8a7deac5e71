//! Compiles the programs into a directory that goes with the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Code without frame pointers, as the distributions build it.
pub const FLAGS: &[&str] = &["-O2", "-g", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"];

pub struct Built {
    _directory: TempDir,
    pub program: PathBuf,
}

/// Compiles a source of this directory. `None` if there is no such compiler, which is said.
pub fn build(compiler: &str, source: &str, flags: &[&str]) -> Option<Built> {
    let directory = tempfile::tempdir().expect("make a directory");
    let program = directory.path().join("program");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/unwind").join(source);
    let output = run(Command::new(compiler).arg(path).arg("-o").arg(&program).args(flags))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(Built { _directory: directory, program })
}

fn run(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: cannot run {:?}: {error}", command.get_program());
            None
        }
    }
}
