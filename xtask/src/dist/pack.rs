//! The formats: a tar archive, and a Debian package, deb(5): an ar archive of two tar archives.
//!
//! Comes in: the files. Goes out: bytes that depend on nothing else: entries sorted, owner 0, fixed
//! modes, one time.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::contents::{DOCUMENTS, File, MANUAL, ZSH, ZSH_DEBIAN};
use super::line_of_sum;

const SUMS: &str = "SHA256SUMS";
const DESCRIPTION: &str = "\
why a process's memory is resident, and which code path made it dirty
 rmap runs a program under eBPF probes, or attaches to one that runs, and
 names, for every segment, the code paths that made its pages resident or
 dirty, net of what was freed since. Needs Linux 5.17 or later with BTF, and
 root or CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE.
";

/// What an entry of a tar archive holds.
struct Entry {
    path: String,
    program: bool,
    bytes: Vec<u8>,
}

/// `rmap-VERSION-x86_64.tar.gz`: one folder with `bin`, `share` and the sums of the files.
pub fn tarball(files: &[File], version: &str, epoch: u64) -> Result<Vec<u8>> {
    let top = format!("rmap-{version}-x86_64");
    let sums: String = files.iter().map(|file| line_of_sum(&file.bytes, &file.path)).collect();
    let mut entries: Vec<Entry> = files
        .iter()
        .map(|file| Entry {
            path: format!("{top}/{}", file.path),
            program: file.program,
            bytes: file.bytes.clone(),
        })
        .collect();
    entries.push(Entry { path: format!("{top}/{SUMS}"), program: false, bytes: sums.into() });
    gzip(&tar(entries, epoch)?)
}

/// `rmap_VERSION_amd64.deb`.
pub fn deb(files: &[File], version: &str, epoch: u64) -> Result<Vec<u8>> {
    let mut entries = files.iter().map(installed).collect::<Result<Vec<Entry>>>()?;
    let sums: String = entries.iter().map(|entry| line_of_sum(&entry.bytes, &entry.path)).collect();
    entries.push(Entry {
        path: format!("usr/{DOCUMENTS}/{SUMS}"),
        program: false,
        bytes: sums.into(),
    });
    let kib: usize = entries.iter().map(|entry| entry.bytes.len().div_ceil(1024)).sum();
    let control = format!(
        "Package: rmap\nVersion: {version}\nArchitecture: amd64\n\
         Maintainer: The rmap contributors\nInstalled-Size: {kib}\nSection: devel\n\
         Priority: optional\nDescription: {DESCRIPTION}"
    );
    let control = Entry { path: "control".to_owned(), program: false, bytes: control.into() };
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&tar(vec![control], epoch)?)?),
        ("data.tar.gz", gzip(&tar(entries, epoch)?)?),
    ];
    Ok(ar(&members, epoch))
}

/// A file as Debian has it: manual pages are compressed, zsh looks elsewhere.
fn installed(file: &File) -> Result<Entry> {
    let mut entry = Entry {
        path: format!("usr/{}", file.path),
        program: file.program,
        bytes: file.bytes.clone(),
    };
    if file.path.starts_with(MANUAL) {
        entry = Entry { path: entry.path + ".gz", bytes: gzip(&entry.bytes)?, ..entry };
    }
    if file.path == ZSH {
        entry.path = format!("usr/{ZSH_DEBIAN}");
    }
    Ok(entry)
}

fn tar(mut entries: Vec<Entry>, epoch: u64) -> Result<Vec<u8>> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let header = |kind: EntryType, mode: u32, size: usize| -> Result<Header> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(epoch);
        header.set_size(size as u64);
        Ok(header)
    };
    let mut archive = Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    for entry in &entries {
        let above = Path::new(&entry.path).ancestors().skip(1);
        let mut above: Vec<&Path> = above.filter(|folder| !folder.as_os_str().is_empty()).collect();
        above.reverse();
        for folder in above {
            if folders.insert(folder) {
                let mut header = header(EntryType::Directory, 0o755, 0)?;
                archive.append_data(&mut header, folder.join(""), &[][..])?;
            }
        }
        let mode = if entry.program { 0o755 } else { 0o644 };
        let mut header = header(EntryType::Regular, mode, entry.bytes.len())?;
        archive.append_data(&mut header, &entry.path, entry.bytes.as_slice())?;
    }
    archive.into_inner().context("cannot make a tar archive")
}

/// Without a name and a time in the header.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    gzip.finish().context("cannot compress")
}

/// An archive of ar(5); names of up to 16 bytes.
fn ar(members: &[(&str, Vec<u8>)], epoch: u64) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let size = bytes.len();
        let header = format!("{name:<16}{epoch:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 100_644);
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(bytes);
        if size % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::contents::File;
    use super::{ar, deb, tarball};

    fn files() -> Vec<File> {
        let file = |path: &str, program, text: &str| File {
            path: path.to_owned(),
            program,
            bytes: text.as_bytes().to_vec(),
        };
        vec![
            file("bin/rmap", true, "#!/bin/sh\n"),
            file("share/man/man1/rmap.1", false, ".TH rmap 1\n"),
            file("share/zsh/site-functions/_rmap", false, "#compdef rmap\n"),
        ]
    }

    #[test]
    fn the_same_files_give_the_same_bytes_and_another_time_gives_others() {
        for make in [tarball, deb] {
            let one = make(&files(), "1.2", 1_700_000_000).unwrap();
            assert_eq!(one, make(&files(), "1.2", 1_700_000_000).unwrap());
            assert_ne!(one, make(&files(), "1.2", 1_700_000_001).unwrap());
        }
    }

    #[test]
    fn members_of_an_ar_archive_begin_at_even_bytes() {
        let archive = ar(&[("odd", b"abc".to_vec()), ("even", b"de".to_vec())], 7);
        let second = 8 + 60 + 4;
        assert_eq!(&archive[8..36], b"odd             7           ");
        assert_eq!(&archive[second - 1..second + 4], b"\neven");
        assert_eq!(archive.len(), second + 60 + 2);
    }

    #[test]
    fn tar_reads_the_tarball() {
        let archive = tarball(&files(), "1.2", 1_700_000_000).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rmap.tar.gz");
        std::fs::write(&path, archive).unwrap();
        let list = Command::new("tar").arg("tvzf").arg(&path).env("TZ", "UTC").output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        let first = list.lines().next().unwrap();
        assert!(first.starts_with("drwxr-xr-x root/root"), "{list}");
        assert!(first.ends_with("2023-11-14 22:13 rmap-1.2-x86_64/"), "{list}");
        assert!(
            list.contains(
                "-rwxr-xr-x root/root        10 2023-11-14 22:13 rmap-1.2-x86_64/bin/rmap"
            )
        );
        assert!(list.ends_with("rmap-1.2-x86_64/share/zsh/site-functions/_rmap\n"), "{list}");
    }

    #[test]
    fn dpkg_reads_the_package() {
        let package = deb(&files(), "1.2", 1_700_000_000).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rmap.deb");
        std::fs::write(&path, package).unwrap();
        let ask = |option: &str| {
            let output = Command::new("dpkg-deb").arg(option).arg(&path).output();
            output.map(|output| String::from_utf8(output.stdout).unwrap())
        };
        let Ok(fields) = ask("--field") else {
            println!("SKIP dpkg_reads_the_package: there is no dpkg-deb");
            return;
        };
        assert!(fields.contains("Version: 1.2\nArchitecture: amd64\n"), "{fields}");
        let list = ask("--contents").unwrap();
        for path in ["usr/bin/rmap", "usr/share/man/man1/rmap.1.gz", "zsh/vendor-completions/_rmap"]
        {
            assert!(list.contains(path), "{list}");
        }
    }
}
