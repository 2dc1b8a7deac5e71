//! What the ready-built eBPF object was made from, as text that two builds can compare.
//!
//! Comes in: the root of the workspace. Goes out: the lines of `prebuilt/SOURCES`. This file is
//! compiled into two programs that must agree, `cargo xtask ebpf` (which writes the lines) and
//! the build script of rmap-user (which refuses an object whose lines are no longer true).
//!
//! One line is one fact:
//!
//! ```text
//! file SHA256 PATH              a source file, relative to the workspace
//! dep MANIFEST-LINE             how Cargo.toml asks for a direct dependency (version, features)
//! crate NAME VERSION CHECKSUM   a crate whose code is in the object, as Cargo.lock pins it
//! flag FLAG                     a compiler flag
//! arch ARCH                     the machine whose registers the probes read (not compared here)
//! object SHA256 NAME            the object itself
//! made-with TOOLS               the tools that made it (told, never compared)
//! ```
//!
//! Lines that start with `#` are comments.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The object's file name inside [`PREBUILT`].
pub const OBJECT: &str = "rmap-probes.o";
/// Where the object and its record are kept, relative to the workspace.
pub const PREBUILT: &str = "rmap-ebpf/prebuilt";
/// The record's file name inside [`PREBUILT`].
pub const SOURCES: &str = "SOURCES";
/// The one command that makes both anew.
pub const COMMAND: &str = "cargo xtask ebpf";

/// The compiler flags that shape the object. They come after those of the Cargo profile and win.
pub const FLAGS: &[&str] = &[
    "-Copt-level=3",
    "-Ccodegen-units=1",
    // BTF is made from the DWARF; the DWARF itself is stripped afterwards.
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
];

/// Crates that run while the object is built and leave no code of their own in it. They and what
/// only they need may change without a new object.
const BUILD_ONLY: &[&str] = &[
    "aya-build",
    "num_enum_derive",
    "proc-macro-error2",
    "proc-macro2",
    "proc-macro2-diagnostics",
    "quote",
    "rustversion",
    "syn",
    "version_check",
];

/// The lower-case hex SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The facts that decide whether an object is stale, sorted: `file`, `dep`, `crate` and `flag`.
///
/// # Errors
/// One line that names the file that could not be read or understood.
pub fn current(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut facts = BTreeSet::new();
    let mut files = vec![PathBuf::from("rmap-ebpf/Cargo.toml")];
    list_files(root, Path::new("rmap-ebpf/src"), &mut files)?;
    for file in files {
        let bytes = read(&root.join(&file))?;
        facts.insert(format!("file {} {}", sha256(&bytes), file.display()));
    }

    let lock = text(&root.join("Cargo.lock"))?;
    let packages = packages(&lock);
    let start = packages
        .iter()
        .find(|package| package.name == "rmap-ebpf")
        .ok_or("Cargo.lock does not name rmap-ebpf: run cargo metadata to repair it")?;

    // Cargo.lock does not tell which direct dependencies are for tests only; the manifest does.
    let built_with = dependencies(&text(&root.join("rmap-ebpf/Cargo.toml"))?);
    let direct: Vec<String> = start
        .needs
        .iter()
        .filter(|wanted| built_with.contains(wanted.split(' ').next().unwrap_or(wanted)))
        .cloned()
        .collect();

    let manifest = text(&root.join("Cargo.toml"))?;
    for wanted in &direct {
        let name = wanted.split(' ').next().unwrap_or(wanted);
        let asks = |line: &&str| line.split('=').next().is_some_and(|key| key.trim() == name);
        if let Some(line) = manifest.lines().find(asks) {
            facts.insert(format!("dep {}", line.trim()));
        }
    }

    let mut open = direct;
    let mut seen = BTreeSet::new();
    while let Some(wanted) = open.pop() {
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        if BUILD_ONLY.contains(&name) || !seen.insert(wanted.clone()) {
            continue;
        }
        let found = packages
            .iter()
            .find(|package| package.name == name && version.is_none_or(|v| v == package.version))
            .ok_or_else(|| format!("Cargo.lock needs {wanted} and does not list it"))?;
        facts.insert(format!("crate {} {} {}", found.name, found.version, found.checksum));
        open.extend(found.needs.iter().cloned());
    }

    facts.extend(FLAGS.iter().map(|flag| format!("flag {flag}")));
    Ok(facts)
}

/// The same facts as a record tells them.
pub fn recorded(record: &str) -> BTreeSet<String> {
    let compared = |line: &&str| {
        ["file ", "dep ", "crate ", "flag "].iter().any(|kind| line.starts_with(kind))
    };
    record.lines().filter(compared).map(str::to_owned).collect()
}

/// What follows the word `kind` on its line of a record.
pub fn field<'a>(record: &'a str, kind: &str) -> Option<&'a str> {
    record.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))
}

/// Why the kept object is not the one of the present sources, or `None` if it is.
///
/// # Errors
/// One line that names the file that could not be read or understood.
pub fn stale(root: &Path) -> Result<Option<String>, String> {
    let kept = root.join(PREBUILT);
    let (Ok(object), Ok(record)) =
        (fs::read(kept.join(OBJECT)), fs::read_to_string(kept.join(SOURCES)))
    else {
        return Ok(Some(format!("{PREBUILT}/{OBJECT} or its {SOURCES} is missing")));
    };
    if field(&record, "object") != Some(&format!("{} {OBJECT}", sha256(&object))) {
        return Ok(Some(format!("{PREBUILT}/{OBJECT} is not the one that {SOURCES} records")));
    }
    let (now, then) = (current(root)?, recorded(&record));
    let changed: BTreeSet<&str> =
        now.symmetric_difference(&then).map(|fact| subject(fact)).collect();
    if changed.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = changed.into_iter().collect();
    Ok(Some(format!("it was made from other sources; what differs: {}", names.join(", "))))
}

/// The thing that a fact is about: the path, the crate, the flag.
fn subject(fact: &str) -> &str {
    let mut words = fact.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("file"), _, Some(path)) => path,
        (Some("dep" | "crate" | "flag"), Some(name), _) => name,
        _ => fact,
    }
}

/// One `[[package]]` of Cargo.lock.
struct Package {
    name: String,
    version: String,
    checksum: String,
    needs: Vec<String>,
}

/// The packages of a Cargo.lock. Its form is Cargo's own and line by line, so that a TOML parser
/// in every build of rmap would be out of proportion.
fn packages(lock: &str) -> Vec<Package> {
    let quoted = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    lock.split("[[package]]")
        .skip(1)
        .map(|block| {
            let value = |key: &str| {
                block.lines().find(|line| line.starts_with(key)).map(quoted).unwrap_or_default()
            };
            let needs = block
                .lines()
                .skip_while(|line| !line.starts_with("dependencies"))
                .skip(1)
                .take_while(|line| line.starts_with(' '))
                .map(quoted);
            Package {
                name: value("name ="),
                version: value("version ="),
                checksum: value("checksum ="),
                needs: needs.collect(),
            }
        })
        .collect()
}

/// The names below the headings `[dependencies]` and `[target.….dependencies]` of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut names = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line.ends_with(".dependencies]");
        } else if inside && let Some((name, _)) = line.split_once(['=', '.']) {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

/// Adds the files below `folder` (relative to `root`) to `found`.
fn list_files(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error| format!("cannot list {}: {error}", root.join(folder).display());
    for entry in fs::read_dir(root.join(folder)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = folder.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            list_files(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    const LOCK: &str = r#"
version = 4

[[package]]
name = "aya-build"
version = "1.0.0"
source = "registry"
checksum = "b0"

[[package]]
name = "only-for-tests"
version = "1.0.0"
checksum = "t0"

[[package]]
name = "aya-ebpf"
version = "0.2.1"
source = "registry"
checksum = "e1"
dependencies = [
 "aya-build",
 "shared 2.0.0",
]

[[package]]
name = "rmap-ebpf"
version = "0.1.0"
dependencies = [
 "aya-ebpf",
 "only-for-tests",
]

[[package]]
name = "shared"
version = "1.0.0"
checksum = "s1"

[[package]]
name = "shared"
version = "2.0.0"
checksum = "s2"
"#;

    const MANIFEST: &str = "[dev-dependencies]\nonly-for-tests = \"1\"\n\n\
        [target.'cfg(target_arch = \"bpf\")'.dependencies]\naya-ebpf.workspace = true\n";

    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Cargo.lock", LOCK);
        write("Cargo.toml", "[workspace.dependencies]\naya-ebpf = \"0.2\"\nshared = \"1\"\n");
        write("rmap-ebpf/Cargo.toml", MANIFEST);
        write("rmap-ebpf/src/main.rs", "fn main() {}");
        write("rmap-ebpf/src/probes/fault.rs", "");
        folder
    }

    /// Keeps an object as `cargo xtask ebpf` does.
    fn keep(root: &Path, object: &[u8]) {
        let facts: Vec<String> = current(root).unwrap().into_iter().collect();
        let record =
            format!("# a comment\n{}\nobject {} {OBJECT}\n", facts.join("\n"), sha256(object));
        fs::create_dir_all(root.join(PREBUILT)).unwrap();
        fs::write(root.join(PREBUILT).join(OBJECT), object).unwrap();
        fs::write(root.join(PREBUILT).join(SOURCES), record).unwrap();
    }

    #[test]
    fn the_facts_are_the_files_the_crates_in_the_object_and_the_flags() {
        let folder = workspace();
        let facts = current(folder.path()).unwrap();
        let subjects: BTreeSet<&str> = facts.iter().map(|fact| subject(fact)).collect();
        let flags = FLAGS.iter().copied();
        let others = [
            "aya-ebpf",
            "rmap-ebpf/Cargo.toml",
            "rmap-ebpf/src/main.rs",
            "rmap-ebpf/src/probes/fault.rs",
            "shared",
        ];
        assert_eq!(subjects, flags.chain(others).collect());
        assert!(facts.contains("crate shared 2.0.0 s2"));
        assert!(facts.contains("dep aya-ebpf = \"0.2\""));
    }

    #[test]
    fn a_kept_object_is_stale_once_anything_differs() {
        let folder = workspace();
        let root = folder.path();
        assert!(stale(root).unwrap().unwrap().contains("missing"));
        keep(root, b"object");
        assert_eq!(stale(root).unwrap(), None);

        fs::write(root.join("rmap-ebpf/src/probes/fault.rs"), "changed").unwrap();
        assert!(stale(root).unwrap().unwrap().ends_with("rmap-ebpf/src/probes/fault.rs"));
        keep(root, b"object");
        fs::write(root.join("rmap-ebpf/src/probes/new.rs"), "").unwrap();
        assert!(stale(root).unwrap().unwrap().ends_with("rmap-ebpf/src/probes/new.rs"));
        keep(root, b"object");
        fs::write(root.join("Cargo.lock"), LOCK.replace("\"s2\"", "\"s3\"")).unwrap();
        assert!(stale(root).unwrap().unwrap().ends_with(": shared"));
        fs::write(root.join("Cargo.lock"), LOCK.replace("\"b0\"", "\"b1\"")).unwrap();
        assert_eq!(stale(root).unwrap(), None, "what only runs at build time does not count");
        fs::write(root.join(PREBUILT).join(OBJECT), "another").unwrap();
        assert!(stale(root).unwrap().unwrap().contains("not the one"));
    }

    #[test]
    fn trouble_is_one_line_with_the_path() {
        let folder = workspace();
        keep(folder.path(), b"object");
        fs::remove_file(folder.path().join("Cargo.lock")).unwrap();
        let line = stale(folder.path()).unwrap_err();
        assert!(line.contains("Cargo.lock") && !line.contains('\n'), "{line}");
    }
}
