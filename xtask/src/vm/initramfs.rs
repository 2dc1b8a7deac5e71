//! The first file system of a virtual machine: busybox, the modules that reach the disks, and
//! what the machine shall do.
//!
//! Comes in: a kernel, and the text of `/case`. Goes out: a cpio archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::packages::Unpacked;
use crate::steps;

/// In the order in which they are loaded; what a kernel has built in is not there.
const MODULES: &[&str] = &[
    "virtio",
    "virtio_ring",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
];

/// Makes the archive `target`.
pub fn make(kernel: &Unpacked, case: &str, target: &Path) -> Result<()> {
    let folder = target.with_extension("d");
    // Another kernel's modules may be there.
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for part in ["bin", "modules", "dev", "proc", "sys", "root"] {
        let path = folder.join(part);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    let init = write("init", include_str!("init.sh"))?;
    write("guest", include_str!("guest.sh"))?;
    write("case", case)?;
    make_executable(&init)?;
    let busybox = folder.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox).context("cannot copy /bin/busybox (busybox-static)")?;
    make_executable(&busybox)?;
    for (number, name) in MODULES.iter().enumerate() {
        if let Some(module) = find(&kernel.modules, name) {
            unpack(&module, &folder.join(format!("modules/{number}-{name}.ko")))?;
        }
    }
    let archive =
        fs::File::create(target).with_context(|| format!("cannot make {}", target.display()))?;
    let mut pack = Command::new("sh");
    pack.args(["-c", "/bin/busybox find . | /bin/busybox cpio -o -H newc"]);
    pack.current_dir(&folder).stdout(archive).stderr(Stdio::null());
    steps::run("pack the initramfs", &mut pack)
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

/// The module's file, plain or packed.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut found = None;
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found = find(&path, name);
        } else {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            let stem = file.trim_end_matches(".xz").strip_suffix(".ko").unwrap_or_default();
            if stem == name {
                found = Some(path);
            }
        }
        if found.is_some() {
            break;
        }
    }
    found
}

fn unpack(module: &Path, to: &Path) -> Result<()> {
    if module.extension().is_none_or(|extension| extension != "xz") {
        return fs::copy(module, to).map(drop).with_context(|| format!("cannot copy {module:?}"));
    }
    let file = fs::File::create(to).with_context(|| format!("cannot make {}", to.display()))?;
    let mut unpack = Command::new("xz");
    unpack.arg("-dc").arg(module).stdout(file);
    steps::run("unpack a module", &mut unpack)
}
