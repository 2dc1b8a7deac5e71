//! Builds the C and C++ programs of `workloads/`.
//!
//! Comes in: a program's name and how to compile it. Goes out: the path of the binary, kept in
//! `target/<profile>/workloads` under a name that holds the hash of all that went into it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Frame pointers, so that a walk without unwind tables has a chance; symbols with lines; a build
/// id.
const FLAGS: [&str; 7] =
    ["-O1", "-g", "-Wall", "-Wextra", "-fno-omit-frame-pointer", "-pthread", "-Wl,--build-id"];

/// What people build for themselves: optimised, and `%rbp` is a register like any other.
pub const BARE: [&str; 2] = ["-O2", "-fomit-frame-pointer"];

/// Optimised, for who walks by frame pointers.
pub const WALKED: [&str; 2] = ["-O2", "-fno-omit-frame-pointer"];

/// Flags of a library that is loaded while a program runs.
pub const LIBRARY: [&str; 2] = ["-shared", "-fPIC"];

/// Call frame information that is not loaded with the program: `.debug_frame`, and no `.eh_frame`.
pub const DEBUG_FRAME: [&str; 2] = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];

/// The C compiler that links with musl instead of glibc.
pub const MUSL: &str = "musl-gcc";

/// It needs its library to be linked.
const LAZY: &str = "stacks_lazy";

/// Builds every program, and the variants that the tests use most; a test builds others when it
/// needs them.
///
/// # Panics
/// One does not compile.
#[must_use]
pub fn build_all() -> Vec<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let mut built = Vec::new();
    for entry in std::fs::read_dir(&sources).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension == "h") || name == LAZY {
            continue;
        }
        let library: &[&str] = if name.ends_with("_library") { &LIBRARY } else { &[] };
        built.extend([&[][..], &BARE].map(|kind| build_with(name, &[kind, library].concat())));
    }
    for kind in [&[][..], &BARE] {
        for more in [&["-static"], &["-minline-all-stringops"]] {
            built.push(build_with("article", &[kind, more].concat()));
        }
    }
    built.push(build_with("stacks_calls", &[&BARE[..], &["-static-pie"]].concat()));
    built.push(build_with("touch_again", &WALKED));
    built.push(build_with("stacks_calls", &[&BARE[..], &DEBUG_FRAME].concat()));
    built.push(build_lazy());
    built
}

/// The binary of `workloads/<name>.c`, or of `<name>.cpp` where that is there.
///
/// # Panics
/// It does not compile.
#[must_use]
pub fn build(name: &str) -> PathBuf {
    build_with(name, &[])
}

/// `stacks_lazy`, linked with its library.
///
/// # Panics
/// One of them does not compile.
#[must_use]
pub fn build_lazy() -> PathBuf {
    let library = build_with("stacks_lazy_library", &[&BARE[..], &LIBRARY].concat());
    let more = ["-Wl,-z,lazy", "-Wl,--no-as-needed", library.to_str().unwrap()];
    build_with(LAZY, &[&BARE[..], &more].concat())
}

/// The same with further flags for the compiler.
///
/// # Panics
/// It does not compile.
#[must_use]
pub fn build_with(name: &str, flags: &[&str]) -> PathBuf {
    build_by(None, name, flags)
}

/// The same by a compiler of its own.
///
/// # Panics
/// It does not compile.
#[must_use]
pub fn build_by(compiler: Option<&str>, name: &str, flags: &[&str]) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let cpp = sources.join(name).with_extension("cpp");
    let (usual, source) =
        if cpp.is_file() { ("c++", cpp) } else { ("cc", sources.join(name).with_extension("c")) };
    let compiler = compiler.unwrap_or(usual);
    let mut hasher = DefaultHasher::new();
    for file in [&source, &sources.join("truth.h")] {
        std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).hash(&mut hasher);
    }
    (compiler, FLAGS, flags).hash(&mut hasher);
    let dir = crate::machine::built_dir("workloads");
    let binary = dir.join(format!("{name}-{:016x}", hasher.finish()));
    if binary.exists() {
        return binary;
    }
    let made = tempfile::Builder::new().prefix(name).tempfile_in(&dir).unwrap().into_temp_path();
    let output = Command::new(compiler)
        .args(FLAGS)
        .args(flags)
        .arg("-o")
        .arg(&made)
        .arg(&source)
        .output()
        .unwrap_or_else(|e| panic!("start {compiler}, a compiler: {e}"));
    assert!(
        output.status.success(),
        "{compiler} {}: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    // Another test process may have been faster; both made the same.
    std::fs::rename(&made, &binary).unwrap();
    // It has its new name, so there is nothing left to remove.
    let _ = made.keep();
    binary
}
