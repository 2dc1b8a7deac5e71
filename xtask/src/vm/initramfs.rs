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

/// What reaches the disks; a kernel that has one built in has no file of it.
const MODULES: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// Makes the archive `target`.
pub fn make(kernel: &Unpacked, case: &str, target: &Path) -> Result<()> {
    // Not `with_extension`: what follows the dot of a kernel's version is none.
    let mut folder = target.as_os_str().to_owned();
    folder.push(".d");
    let folder = PathBuf::from(folder);
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
    write("suite", super::SUITE)?;
    write("case", case)?;
    make_executable(&init)?;
    let busybox = folder.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox).context("cannot copy /bin/busybox (busybox-static)")?;
    make_executable(&busybox)?;
    let mut modules = Modules { kernel, folder: folder.join("modules"), added: Vec::new() };
    MODULES.iter().try_for_each(|name| modules.add(name))?;
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

/// The modules of an initramfs, each behind those that it needs.
struct Modules<'a> {
    kernel: &'a Unpacked,
    folder: PathBuf,
    added: Vec<String>,
}

impl Modules<'_> {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.added.iter().any(|added| added == name) {
            return Ok(());
        }
        self.added.push(name.to_owned());
        let Some(file) = find(&self.kernel.modules, name) else { return Ok(()) };
        let bytes = content(&file)?;
        for other in needed(&bytes) {
            self.add(&other)?;
        }
        // Numbers order them, in the shell as well.
        let number = fs::read_dir(&self.folder).map_or(0, Iterator::count);
        let to = self.folder.join(format!("{number:02}-{name}.ko"));
        fs::write(&to, bytes).with_context(|| format!("cannot write {}", to.display()))
    }
}

/// What a module says that it needs (`depends=` in its `.modinfo`).
fn needed(module: &[u8]) -> Vec<String> {
    let words = module.split(|byte| *byte == 0);
    let list = words.filter_map(|word| word.strip_prefix(b"depends=")).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A module's bytes, unpacked.
fn content(module: &Path) -> Result<Vec<u8>> {
    if module.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(module).with_context(|| format!("cannot read {}", module.display()));
    }
    let output = Command::new("xz").arg("-dc").arg(module).output().context("cannot start xz")?;
    anyhow::ensure!(output.status.success(), "cannot unpack {}", module.display());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::needed;

    #[test]
    fn a_module_names_what_it_needs() {
        let module = b"\x7fELF\0license=GPL\0depends=virtio,virtio_ring\0name=virtio_blk\0";
        assert_eq!(needed(module), ["virtio", "virtio_ring"]);
        assert!(needed(b"license=GPL\0depends=\0").is_empty());
    }
}
