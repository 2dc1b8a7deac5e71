//! The kernels' packages: found and fetched by an apt with a configuration of its own, so that
//! nothing of the machine's changes, and unpacked.
//!
//! Comes in: a row of the matrix. Goes out: a [`Unpacked`] kernel under `target/vm/kernels`, kept
//! there for the next time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::matrix::Kernel;
use crate::steps::{self, say};

/// What a virtual machine is made from.
pub struct Unpacked {
    /// The kernel's image.
    pub image: PathBuf,
    /// The folder with its modules.
    pub modules: PathBuf,
}

/// The kernel's newest packages of its suite, or those that were fetched before.
pub fn kernel(kernel: &Kernel) -> Result<Unpacked> {
    let folder = super::folder().join("kernels").join(kernel.name);
    let done = folder.join("unpacked");
    if !done.exists() {
        let apt = Apt::new(kernel)?;
        let root = done.with_extension("new");
        // What an interrupted run left.
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("cannot remove {root:?}"))?;
        }
        fs::create_dir_all(&root).with_context(|| format!("cannot make {root:?}"))?;
        for package in apt.fetch(kernel)? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&package).arg(&root);
            steps::run("unpack a kernel's package", &mut unpack)?;
        }
        fs::rename(&root, &done).with_context(|| format!("cannot rename {root:?}"))?;
    }
    find(&done).with_context(|| {
        format!("no kernel in {}: remove the folder and try again", done.display())
    })
}

fn find(root: &Path) -> Option<Unpacked> {
    let parents = ["lib/modules", "usr/lib/modules"].map(|name| root.join(name));
    let modules = parents.iter().find_map(|parent| fs::read_dir(parent).ok()?.next()?.ok())?.path();
    let release = modules.file_name()?.to_str()?.to_owned();
    let images = [modules.join("vmlinuz"), root.join(format!("boot/vmlinuz-{release}"))];
    let image = images.into_iter().find(|path| path.is_file())?;
    Some(Unpacked { image, modules })
}

/// apt with lists, a cache and sources of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(kernel: &Kernel) -> Result<Self> {
        let folder = super::folder().join("apt").join(kernel.suite);
        for part in ["lists/partial", "cache/archives/partial"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {path:?}"))?;
        }
        let mirror = mirror()?;
        let source = format!(
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror}/{} {} main\n",
            kernel.archive, kernel.suite
        );
        let path = folder.join("sources.list");
        fs::write(&path, source).with_context(|| format!("cannot write {path:?}"))?;
        Ok(Self { folder })
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
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // apt's own user cannot write where the build does.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    /// Fetches the kernel's packages and gives their paths.
    fn fetch(&self, kernel: &Kernel) -> Result<Vec<PathBuf>> {
        say(&format!("fetching Debian's list of packages of {}", kernel.suite));
        let mut update = self.call("apt-get");
        update.args(["update", "-q"]);
        steps::run("fetch the list of packages", &mut update)?;
        let start = format!("linux-image-{}", kernel.name);
        let mut list = self.call("apt-cache");
        list.args(["pkgnames", &start]);
        let names = steps::output("look for kernels", &mut list)?;
        let Some(name) = newest(&start, names.lines()) else {
            bail!("{} has no Linux {} any longer", kernel.suite, kernel.name);
        };
        // From 7.1 on the image and the modules are packages of their own.
        let release = name.trim_start_matches("linux-image-");
        let parts = ["image", "binary", "modules"].map(|part| format!("linux-{part}-{release}"));
        let known = |name: &&String| {
            let mut show = self.call("apt-cache");
            show.args(["show", name]);
            steps::output("ask apt", &mut show).is_ok()
        };
        let parts: Vec<String> = parts.iter().filter(known).cloned().collect();
        say(&format!("fetching {}", parts.join(" ")));
        let mut download = self.call("apt-get");
        download.args(["download", "-q"]).args(&parts).current_dir(&self.folder);
        steps::run("fetch a kernel's packages", &mut download)?;
        let entries = fs::read_dir(&self.folder).context("cannot list the packages")?;
        let files = entries.flatten().map(|entry| entry.path());
        Ok(files
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                parts.iter().any(|part| name.starts_with(&format!("{part}_")))
            })
            .collect())
    }
}

/// The mirror that this machine's apt uses for Debian.
fn mirror() -> Result<String> {
    let mut policy = Command::new("apt-get");
    policy.args(["indextargets", "--format", "$(SITE) $(URI)", "Created-By: Packages"]);
    let text = steps::output("ask apt for its sources", &mut policy)?;
    let found = text.lines().find_map(|line| {
        let (_, uri) = line.split_once(' ')?;
        uri.split_once("/debian/dists/").map(|(mirror, _)| mirror.to_owned())
    });
    found.context("this machine's apt has no source of Debian's packages")
}

/// Of the packages' names the newest cloud kernel of a series.
fn newest<'a>(start: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let version = |name: &str| -> Option<Vec<u32>> {
        let rest = name.strip_prefix(start)?.strip_suffix("-cloud-amd64")?;
        // 6.1 must not take 6.12.
        (!rest.starts_with(|c: char| c.is_ascii_digit())).then(|| {
            let numbers = rest.split(|c: char| !c.is_ascii_digit());
            numbers.filter_map(|number| number.parse().ok()).collect()
        })
    };
    // A package without a version of its own (`linux-image-6.12-cloud-amd64`) only names another.
    names
        .filter(|name| version(name).is_some_and(|numbers| !numbers.is_empty()))
        .max_by_key(|name| version(name))
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn the_newest_cloud_kernel_of_the_series_is_taken() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-amd64",
            "linux-image-6.1.0-58-cloud-amd64-unsigned",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.9+deb12-cloud-amd64",
        ];
        let take = |start| newest(start, names.into_iter());
        assert_eq!(take("linux-image-6.1"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(take("linux-image-6.12"), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(take("linux-image-7.2"), None);
    }
}
