//! What this machine allows, and whose turn it is.
//!
//! Comes in: the privileges of the tests, the kernel. Goes out: a [`Machine`], which a test holds
//! while it runs, or `None` and a line `SKIP <test>: <reason>`. The line goes to the real
//! standard error (past the capture of the test runner), and to the file `RMAP_SKIPS` if that is
//! set, so that whoever runs the tests can count.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// A test's turn: privileged tests run one at a time, in this and in other test processes.
pub struct Machine {
    name: String,
    scratch: tempfile::TempDir,
    _turn: Flock<File>,
}

/// Starts a test that needs root and BPF; `None` if it cannot run, which is said.
///
/// # Panics
/// The binary is missing, or the lock or the scratch directory cannot be made.
#[must_use]
pub fn begin(name: &str) -> Option<Machine> {
    if let Err(reason) = privileges() {
        skip(name, &reason);
        return None;
    }
    let binary = crate::rmap::binary();
    assert!(
        binary.is_file(),
        "{} is missing: run `cargo build -p rmap-user` first, or name a binary in RMAP_BIN",
        binary.display()
    );
    let lock = built_dir("scratch").join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock).unwrap();
    let turn = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
    let scratch = tempfile::tempdir_in(built_dir("scratch")).unwrap();
    Some(Machine { name: name.to_owned(), scratch, _turn: turn })
}

impl Machine {
    /// A directory of this test's own on the build's file system; gone when the test ends.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Says that this test cannot show what it is for.
    pub fn skip(&self, reason: &str) {
        skip(&self.name, reason);
    }
}

/// How many times slower than usual this machine is: `RMAP_SLOW`, or 1.
#[must_use]
pub fn slow() -> u32 {
    std::env::var("RMAP_SLOW").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

fn skip(name: &str, reason: &str) {
    let line = format!("SKIP {name}: {reason}\n");
    // The test runner captures what macros print; this is seen in any case.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("RMAP_SKIPS") {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn privileges() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("the kernel has no BTF (/sys/kernel/btf/vmlinux)".to_owned());
    }
    crate::bpf::allowed().map_err(|e| format!("bpf(2) is not allowed: {e}"))
}

/// The directory of Cargo's profile that holds the tests, for example `target/debug`.
///
/// # Panics
/// The test binary is not where Cargo puts it.
#[must_use]
pub fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let dir = exe.parent().unwrap();
    let dir = if dir.ends_with("deps") { dir.parent().unwrap() } else { dir };
    dir.to_owned()
}

/// A directory in [`profile_dir`], made if it is missing.
///
/// # Panics
/// It cannot be made.
#[must_use]
pub fn built_dir(name: &str) -> PathBuf {
    let dir = profile_dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
