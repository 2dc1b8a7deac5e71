//! Packages of another suite or machine of Debian's: found and fetched by an apt with a
//! configuration of its own, so that nothing of this machine's changes.
//!
//! Comes in: an archive, a suite, a machine. Goes out: the packages' files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::steps::{self, say};

/// apt with lists, a cache and sources of its own.
pub struct Archive {
    folder: PathBuf,
    machine: &'static str,
}

impl Archive {
    /// Fetches the list of the suite's packages for a kind of machine (`amd64`, `arm64`). Everything
    /// is kept in `folder`.
    pub fn open(folder: &Path, archive: &str, suite: &str, machine: &'static str) -> Result<Self> {
        let folder = folder.to_owned();
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {path:?}"))?;
        }
        let mirror = mirror()?;
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let source = format!("deb [signed-by={keys}] {mirror}/{archive} {suite} main\n");
        let path = folder.join("sources.list");
        fs::write(&path, source).with_context(|| format!("cannot write {path:?}"))?;
        let archive = Self { folder, machine };
        say(&format!("fetching Debian's list of packages of {suite}"));
        let mut update = archive.call("apt-get");
        update.args(["update", "-q"]);
        steps::run("fetch the list of packages", &mut update)?;
        Ok(archive)
    }

    /// A call of `program`, one of apt's, that sees nothing of the machine's lists.
    fn call(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let own = |key: &str, name: &str| format!("{key}={}", self.folder.join(name).display());
        for option in [
            own("Dir::Etc::sourcelist", "sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            own("Dir::State::lists", "lists"),
            own("Dir::Cache", "cache"),
            format!("APT::Architecture={}", self.machine),
            format!("APT::Architectures={}", self.machine),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // apt's own user cannot write where the build does.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    /// The names of packages that begin so.
    pub fn names(&self, start: &str) -> Result<Vec<String>> {
        let mut list = self.call("apt-cache");
        list.args(["pkgnames", start]);
        let text = steps::output("look for packages", &mut list)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Fetches packages and unpacks them into the folder `into`, which is made anew. A name may be
    /// `package=version`.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        say(&format!("fetching {}", packages.join(" ")));
        let fetched = self.folder.join("fetched");
        let new = into.with_extension("new");
        for folder in [&fetched, &new] {
            // What an interrupted run left.
            if folder.exists() {
                fs::remove_dir_all(folder).with_context(|| format!("cannot remove {folder:?}"))?;
            }
            fs::create_dir_all(folder).with_context(|| format!("cannot make {folder:?}"))?;
        }
        let mut download = self.call("apt-get");
        download.args(["download", "-q"]).args(packages).current_dir(&fetched);
        steps::run("fetch packages", &mut download)?;
        for entry in fs::read_dir(&fetched).context("cannot list the packages")?.flatten() {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(entry.path()).arg(&new);
            steps::run("unpack a package", &mut unpack)?;
        }
        fs::rename(&new, into).with_context(|| format!("cannot rename {new:?}"))
    }
}

/// The mirror that this machine's apt uses for Debian.
pub fn mirror() -> Result<String> {
    let mut policy = Command::new("apt-get");
    policy.args(["indextargets", "--format", "$(SITE) $(URI)", "Created-By: Packages"]);
    let text = steps::output("ask apt for its sources", &mut policy)?;
    let found = text.lines().find_map(|line| {
        let (_, uri) = line.split_once(' ')?;
        uri.split_once("/debian/dists/").map(|(mirror, _)| mirror.to_owned())
    });
    found.context("this machine's apt has no source of Debian's packages")
}
