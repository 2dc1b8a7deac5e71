//! The virtual machines' disks: one with Debian's programs, taken from this machine's own
//! packages, and one with rmap and the tests, mounted where the workspace is here, because the
//! tests know that place.
//!
//! Comes in: what is installed and what Cargo built. Goes out: two ext4 images in `target/vm`.
//! The machines write to throw-away layers above them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps::{self, say};
use crate::test::packages;

/// What every machine needs beside the programs that the tests trace.
const BASE: &[&str] =
    &["dash", "coreutils", "findutils", "grep", "sed", "mount", "util-linux", "libc-bin", "g++"];

/// The disks.
pub struct Disks {
    /// Debian's programs.
    pub system: PathBuf,
    /// rmap, the tests and their workloads.
    pub tests: PathBuf,
}

/// A test binary, and the package that it is of.
pub struct Binary {
    /// As Cargo names it, for example `main_job`.
    pub name: String,
    /// Where it is, here and in the machines.
    pub path: PathBuf,
}

/// Makes the disk of programs; the one that is there serves as long as the packages are the same.
pub fn system() -> Result<PathBuf> {
    let image = super::folder().join("system.img");
    let packages = closure(&packages::names().chain(BASE.iter().copied()).collect::<Vec<_>>())?;
    let mark = image.with_extension("packages");
    let list = packages.join("\n");
    if image.is_file() && fs::read_to_string(&mark).is_ok_and(|text| text == list) {
        return Ok(image);
    }
    say(&format!("making a disk of {} Debian packages", packages.len()));
    let mut query = Command::new("dpkg-query");
    query.arg("-L").args(packages.iter().filter_map(|package| package.split(' ').next()));
    let files = steps::output("list the files of packages", &mut query)?;
    let tree = super::folder().join("system");
    let mut maker = Tree::new(&tree)?;
    let left_out = ["/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/lib/debug/"];
    for file in files.lines().filter(|file| !left_out.iter().any(|dir| file.starts_with(dir))) {
        maker.add(Path::new(file))?;
    }
    // What packages' own scripts make.
    for file in ["/bin", "/sbin", "/lib", "/lib64", "/usr/bin/cc", "/usr/bin/c++", "/etc/passwd"] {
        maker.add(Path::new(file))?;
    }
    for file in ["/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.conf", "/etc/ld.so.cache"] {
        maker.add(Path::new(file))?;
    }
    for folder in ["proc", "sys", "dev", "tmp", "run", "root", "var/cache", "var/tmp"] {
        maker.folder(Path::new(folder))?;
    }
    // Two GiB for what the tests write.
    filesystem(&tree, &image, maker.bytes + (2 << 30))?;
    fs::write(&mark, list).with_context(|| format!("cannot write {}", mark.display()))?;
    Ok(image)
}

/// Makes the disk of tests.
pub fn tests(binaries: &[Binary], more: &[PathBuf]) -> Result<PathBuf> {
    let image = super::folder().join("tests.img");
    let tree = super::folder().join("tests");
    let root = steps::root();
    let mut maker = Tree::new(&tree)?;
    let paths = binaries.iter().map(|binary| binary.path.clone()).chain(more.iter().cloned());
    for path in paths {
        let inside = path.strip_prefix(&root);
        let Ok(inside) = inside else {
            bail!("{} is not in {}: unset CARGO_TARGET_DIR", path.display(), root.display());
        };
        maker.place(&path, inside)?;
    }
    filesystem(&tree, &image, maker.bytes + (1 << 30))?;
    Ok(image)
}

/// `packages` and all that they depend on, as `name version`, sorted.
fn closure(packages: &[&str]) -> Result<Vec<String>> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f=${Package}\t${Version}\t${Provides}\t${Pre-Depends}, ${Depends}\n"]);
    let text = steps::output("ask dpkg for what is installed", &mut query)?;
    let mut installed = BTreeMap::new();
    let mut provided = BTreeMap::new();
    let word = |text: &str| {
        let end = text.find([' ', ':', '(']).unwrap_or(text.len());
        text[..end].to_owned()
    };
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, version, provides, depends] = fields[..] else { continue };
        installed.insert(name.to_owned(), (version, depends));
        for other in provides.split(',').map(|other| word(other.trim())) {
            provided.insert(other, name.to_owned());
        }
    }
    let mut wanted: Vec<String> = packages.iter().map(|&name| name.to_owned()).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let name = if installed.contains_key(&name) { Some(&name) } else { provided.get(&name) };
        let Some((name, (version, depends))) = name.and_then(|name| installed.get_key_value(name))
        else {
            continue;
        };
        if found.insert(format!("{name} {version}")) {
            wanted.extend(depends.split([',', '|']).map(|other| word(other.trim())));
        }
    }
    Ok(found.into_iter().collect())
}

/// A folder that is filled with links to files of this machine, or copies where links are not
/// possible.
struct Tree {
    root: PathBuf,
    bytes: u64,
}

impl Tree {
    fn new(root: &Path) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root).with_context(|| format!("cannot remove {root:?}"))?;
        }
        fs::create_dir_all(root).with_context(|| format!("cannot make {root:?}"))?;
        Ok(Self { root: root.to_owned(), bytes: 0 })
    }

    /// Adds a file of this machine under its real place (`/bin` is a link to `/usr/bin`), and what
    /// it points to.
    fn add(&mut self, file: &Path) -> Result<()> {
        let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else { return Ok(()) };
        // Packages list files that were removed or diverted too.
        let Ok(parent) = fs::canonicalize(parent) else { return Ok(()) };
        let real = parent.join(name);
        let Ok(meta) = fs::symlink_metadata(&real) else { return Ok(()) };
        let inside = real.strip_prefix("/").unwrap_or(&real).to_owned();
        if meta.is_symlink() {
            let to = self.root.join(&inside);
            if fs::symlink_metadata(&to).is_ok() {
                return Ok(());
            }
            self.folder(inside.parent().unwrap_or(Path::new("")))?;
            let target = fs::read_link(&real).with_context(|| format!("cannot read {real:?}"))?;
            std::os::unix::fs::symlink(&target, &to)
                .with_context(|| format!("cannot make the link {}", to.display()))?;
            // A folder comes with its own files.
            if !parent.join(&target).is_dir() {
                self.add(&parent.join(target))?;
            }
            Ok(())
        } else if meta.is_dir() {
            self.folder(&inside)
        } else {
            self.place(&real, &inside)
        }
    }

    fn folder(&mut self, inside: &Path) -> Result<()> {
        let path = self.root.join(inside);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))
    }

    /// Adds a file, or a folder with all that is in it.
    fn place(&mut self, from: &Path, inside: &Path) -> Result<()> {
        if from.is_dir() {
            self.folder(inside)?;
            let entries = fs::read_dir(from).with_context(|| format!("cannot list {from:?}"))?;
            for entry in entries {
                let name = entry.with_context(|| format!("cannot list {from:?}"))?.file_name();
                self.place(&from.join(&name), &inside.join(&name))?;
            }
            return Ok(());
        }
        let to = self.root.join(inside);
        if to.exists() {
            return Ok(());
        }
        self.folder(inside.parent().unwrap_or(Path::new("")))?;
        if fs::hard_link(from, &to).is_err() {
            fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        self.bytes += fs::metadata(&to).map_or(0, |meta| meta.len());
        Ok(())
    }
}

/// Makes an image of `bytes` (a hole where nothing is) with the folder's files.
fn filesystem(tree: &Path, image: &Path, bytes: u64) -> Result<()> {
    let new = image.with_extension("new");
    let file = fs::File::create(&new).with_context(|| format!("cannot make {}", new.display()))?;
    file.set_len(bytes).with_context(|| format!("cannot enlarge {}", new.display()))?;
    drop(file);
    let mut make = Command::new("mkfs.ext4");
    make.args(["-q", "-F", "-m", "0", "-O", "^metadata_csum", "-E", "root_owner=0:0"]);
    make.arg("-d").arg(tree).arg(&new);
    // Debian keeps it where only root's PATH leads.
    let path = std::env::var("PATH").unwrap_or_default();
    make.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    steps::run("make a disk", &mut make)?;
    fs::rename(&new, image).with_context(|| format!("cannot rename {}", new.display()))?;
    fs::remove_dir_all(tree).with_context(|| format!("cannot remove {}", tree.display()))
}
