//! Debian packages: what is missing, and installing it where that is allowed.
//!
//! Comes in: package names. Goes out: the packages installed, or the reason why they could not be.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::steps;

/// Whether `package` is installed. False where there is no dpkg.
pub fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f=${db:Status-Abbrev}", package]);
    steps::output("ask dpkg", &mut query).is_ok_and(|status| status.starts_with("ii"))
}

/// Why packages cannot be installed here, or `None` if they can.
pub fn why_not() -> Option<&'static str> {
    if steps::which("apt-get").is_none() {
        Some("this is no Debian (there is no apt-get)")
    } else if !steps::is_root() {
        Some("not root")
    } else {
        None
    }
}

/// Where apt keeps its lists; the folder changes when they are fetched.
const LISTS: &str = "/var/lib/apt/lists";
/// Lists that are older are fetched before anything is installed: they name versions that the
/// archives have no longer, or that are too old for this workspace.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// Installs what is missing of `packages`.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    newest(&missing)
}

/// Installs `packages`, or newer versions of those that are there.
pub fn newest(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if let Some(reason) = why_not() {
        bail!("cannot install {list}: {reason}; install them, or run as root on Debian");
    }
    let install = || {
        steps::say(&format!("installing Debian packages: {list}"));
        let mut apt = Command::new("apt-get");
        apt.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        steps::run("install Debian packages", &mut apt)
    };
    if fresh() && install().is_ok() {
        return Ok(());
    }
    steps::say("fetching the lists of Debian packages");
    let mut update = Command::new("apt-get");
    update.args(["update", "-q"]);
    steps::run("fetch the lists of Debian packages", &mut update)?;
    install()
}

/// Whether the lists were fetched within the last day.
fn fresh() -> bool {
    let changed = Path::new(LISTS).metadata().and_then(|folder| folder.modified());
    changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < FRESH))
}
