//! Clean systems to install rmap in.
//!
//! Comes in: a kind of system. Goes out: its root folder below `target/dist/roots`, kept for the next
//! time; or the reason why there is none. What runs in one sees its files alone, with this machine's
//! kernel: `/proc`, `/sys` and `/dev` are mounted in a mount namespace that ends with it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::archive;
use crate::steps::{self, say};
use crate::{apt, dist};

/// A clean system.
#[derive(Clone, Copy)]
pub enum System<'a> {
    /// Debian by the name and the number of its release.
    Debian(&'static str, u32),
    /// No glibc: musl for programs that are linked with it, and busybox for all else.
    Musl,
    /// Alpine, from its own root file system.
    Alpine(&'a Path),
}

/// Debian's packages that they are made with.
pub const PACKAGES: &[&str] = &["debootstrap", "busybox-static", "musl-tools"];
/// Mounts what a system has of its kernel, and runs a script in it.
const ENTER: &str = "mount -t proc proc \"$1/proc\"; mount --rbind /sys \"$1/sys\"; \
                     mount --rbind /dev \"$1/dev\"; exec chroot \"$1\" /bin/sh -ec \"$2\"";
const MUSL: &str = "/lib/x86_64-linux-musl/libc.so";

impl System<'_> {
    /// As people call it.
    pub fn name(self) -> String {
        match self {
            Self::Debian(_, number) => format!("Debian {number}"),
            Self::Musl => "a system without glibc (musl, busybox)".to_owned(),
            Self::Alpine(_) => "Alpine".to_owned(),
        }
    }

    /// Makes its root folder, if it is not there.
    pub fn root(self) -> Result<PathBuf> {
        let folder = dist::folder().join("roots");
        let (name, kept) = match self {
            Self::Debian(suite, _) => (suite, true),
            Self::Musl => ("musl", false),
            Self::Alpine(_) => ("alpine", false),
        };
        let (root, new) = (folder.join(name), folder.join(format!("{name}.new")));
        if kept && root.exists() {
            return Ok(root);
        }
        for old in [&root, &new] {
            if old.exists() {
                fs::remove_dir_all(old)
                    .with_context(|| format!("cannot remove {}", old.display()))?;
            }
        }
        fs::create_dir_all(&new).with_context(|| format!("cannot make {}", new.display()))?;
        match self {
            Self::Debian(suite, _) => debian(suite, &new)?,
            Self::Musl => musl(&new)?,
            Self::Alpine(tarball) => {
                let mut tar = Command::new("tar");
                tar.arg("xzf").arg(tarball).arg("-C").arg(&new);
                steps::run("unpack Alpine's root file system", &mut tar)?;
            }
        }
        fs::rename(&new, &root).with_context(|| format!("cannot rename {}", new.display()))?;
        Ok(root)
    }
}

/// Runs a script in a system: what it prints.
pub fn call(root: &Path, script: &str) -> Result<String> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-ec", ENTER, "sh"]).arg(root).arg(script);
    // Nothing of this machine's environment.
    unshare.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    unshare.env("LC_ALL", "C.UTF-8").env("HOME", "/root");
    let output = unshare.output().context("cannot run unshare (util-linux)")?;
    if !output.status.success() {
        bail!(
            "{script}\nended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Debian's smallest system, with man.
fn debian(suite: &str, root: &Path) -> Result<()> {
    apt::install(PACKAGES)?;
    let mirror = format!("{}/debian", archive::mirror()?);
    say(&format!("making a system of Debian's packages: {suite}"));
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "--include=man-db", suite]).arg(root).arg(mirror);
    command.stdout(std::process::Stdio::null());
    steps::run("make a system of Debian's packages", &mut command)
}

/// Of this machine's packages of busybox and musl.
fn musl(root: &Path) -> Result<()> {
    apt::install(PACKAGES)?;
    for folder in ["bin", "lib", "etc", "proc", "sys", "dev", "tmp", "root", "usr/local"] {
        let path = root.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let copy = |from: &str, to: &str| {
        fs::copy(from, root.join(to)).with_context(|| format!("cannot copy {from}"))
    };
    copy("/bin/busybox", "bin/busybox")?;
    copy(&format!("/usr{MUSL}"), "lib/ld-musl-x86_64.so.1")
        .or_else(|_| copy(MUSL, "lib/ld-musl-x86_64.so.1"))?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let applets =
        steps::output("list busybox's programs", Command::new("/bin/busybox").arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet))
            .with_context(|| format!("cannot make a link for {applet}"))?;
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    fs::write(root.join("etc/passwd"), passwd)?;
    fs::write(root.join("etc/group"), "root:x:0:root\nnobody:x:65534:\n")?;
    Ok(())
}
