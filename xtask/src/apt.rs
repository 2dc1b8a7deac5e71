//! Debian packages: what is missing, and installing it where that is allowed.
//!
//! Comes in: package names. Goes out: the packages installed, or the reason why they could not be.

use std::process::Command;

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

/// Installs what is missing of `packages`.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if let Some(reason) = why_not() {
        bail!("cannot install {list}: {reason}; install them, or run as root on Debian");
    }
    steps::say(&format!("installing Debian packages: {list}"));
    let install = || {
        let mut apt = Command::new("apt-get");
        apt.args(["install", "-y", "-q", "--no-install-recommends"]).args(&missing);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        steps::run("install Debian packages", &mut apt)
    };
    // The lists of a fresh machine are empty or old; fetching them takes longer than most installs.
    let known = |name: &&str| {
        let mut policy = Command::new("apt-cache");
        policy.args(["show", name]);
        steps::output("ask apt", &mut policy).is_ok()
    };
    if missing.iter().all(known) && install().is_ok() {
        return Ok(());
    }
    steps::say("fetching the lists of Debian packages");
    let mut update = Command::new("apt-get");
    update.args(["update", "-q"]);
    steps::run("fetch the lists of Debian packages", &mut update)?;
    install()
}
