//! The group of a container or of a systemd unit, by the name of its folder.
//!
//! Comes in: an id, whole or its first digits, or a unit's name. Goes out: paths below the mount.
//!
//! What names folders: Docker `docker/ID` and `docker-ID.scope`, Podman `libpod-ID.scope`, containerd
//! and the kubelet `cri-containerd-ID.scope`, `crio-ID.scope` and `kubepods/…/ID`, systemd `NAME.service`
//! and `NAME.scope`. The process beside a container that watches it (`libpod-conmon-ID.scope`,
//! `crio-conmon-ID.scope`) is none of its own.

use std::fs;
use std::path::{Path, PathBuf};

/// An id has at least so many digits; what is shorter may only be a whole name.
const LEAST: usize = 4;
/// Folders with fewer digits than this have no id in their name.
const ID: usize = 12;

/// The groups that may be meant. Of groups inside of each other the outermost.
pub(super) fn find(mount: &Path, id: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if !id.is_empty() {
        search(mount, Path::new(""), id, depth, &mut found);
    }
    found.sort();
    found
}

fn search(mount: &Path, below: &Path, id: &str, depth: u32, found: &mut Vec<PathBuf>) {
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(mount.join(below)).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = below.join(entry.file_name());
        if entry.file_name().to_str().is_some_and(|name| is_of(name, id)) {
            found.push(path);
        } else {
            search(mount, &path, id, depth - 1, found);
        }
    }
}

/// Whether a folder of this name is the group of the container or unit.
fn is_of(name: &str, id: &str) -> bool {
    let stem = [".scope", ".service", ".slice"].iter().find_map(|end| name.strip_suffix(end));
    let stem = stem.unwrap_or(name);
    if name == id || stem == id {
        return true;
    }
    let (front, last) = stem.rsplit_once('-').unwrap_or(("", stem));
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    !front.ends_with("conmon")
        && id.len() >= LEAST
        && last.len() >= ID
        && hexadecimal(last)
        && last.starts_with(&id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";

    #[test]
    fn every_runtimes_names_are_known() {
        for name in [
            LONG.to_owned(),
            format!("docker-{LONG}.scope"),
            format!("libpod-{LONG}.scope"),
            format!("cri-containerd-{LONG}.scope"),
            format!("crio-{LONG}"),
        ] {
            assert!(is_of(&name, LONG), "{name}");
            assert!(is_of(&name, &LONG[..12]), "{name}");
            assert!(is_of(&name, "4fa6"), "{name}");
            assert!(!is_of(&name, "fa6e0f0c6786"), "{name}");
        }
        assert!(!is_of(&format!("libpod-conmon-{LONG}.scope"), LONG));
        assert!(is_of("nginx.service", "nginx"));
        assert!(is_of("nginx.service", "nginx.service"));
        assert!(!is_of("nginx-2.service", "nginx"));
        assert!(!is_of("session-4.scope", "4"));
    }

    #[test]
    fn folders_are_searched_to_the_outermost() {
        let root = tempfile::tempdir().unwrap();
        let inner = format!("machine.slice/libpod-{LONG}.scope/container");
        fs::create_dir_all(root.path().join(&inner)).unwrap();
        fs::create_dir_all(root.path().join("docker").join(format!("5{}", &LONG[1..]))).unwrap();
        let found = find(root.path(), "4fa6e0", 8);
        assert_eq!(found, [PathBuf::from(format!("machine.slice/libpod-{LONG}.scope"))]);
        assert!(find(root.path(), "", 8).is_empty());
        assert!(find(root.path(), "4fa6e0", 1).is_empty(), "the depth is a bound");
    }
}
