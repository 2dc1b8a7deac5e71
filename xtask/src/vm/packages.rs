//! The kernels' packages.
//!
//! Comes in: a row of the matrix. Goes out: a [`Unpacked`] kernel under `target/vm/kernels`, kept
//! there for the next time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::matrix::Kernel;
use crate::archive::Archive;

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
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {folder:?}"))?;
        fetch(kernel, &done)?;
    }
    find(&done).with_context(|| {
        format!("no kernel in {}: remove the folder and try again", done.display())
    })
}

fn fetch(kernel: &Kernel, into: &Path) -> Result<()> {
    let folder = super::folder().join("apt").join(kernel.suite);
    let archive = Archive::open(&folder, kernel.archive, kernel.suite, "amd64")?;
    let start = format!("linux-image-{}", kernel.name);
    let names = archive.names(&start)?;
    let Some(name) = newest(&start, names.iter().map(String::as_str)) else {
        bail!("{} has no Linux {} any longer", kernel.suite, kernel.name);
    };
    // From 7.1 on the image and the modules are packages of their own.
    let release = name.trim_start_matches("linux-image-");
    let mut parts = vec![name.to_owned()];
    for part in ["binary", "modules"] {
        let name = format!("linux-{part}-{release}");
        parts.extend(archive.names(&name)?.into_iter().filter(|found| *found == name));
    }
    archive.unpack(&parts, into)
}

fn find(root: &Path) -> Option<Unpacked> {
    let parents = ["lib/modules", "usr/lib/modules"].map(|name| root.join(name));
    let modules = parents.iter().find_map(|parent| fs::read_dir(parent).ok()?.next()?.ok())?.path();
    let release = modules.file_name()?.to_str()?.to_owned();
    let images = [modules.join("vmlinuz"), root.join(format!("boot/vmlinuz-{release}"))];
    let image = images.into_iter().find(|path| path.is_file())?;
    Some(Unpacked { image, modules })
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
