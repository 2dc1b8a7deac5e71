//! Which files a program will load when it starts, so that their unwind tables are there before its
//! first instruction.
//!
//! Comes in: a process that stands behind its exec. Goes out: the files that its headers name
//! (`DT_NEEDED`, followed from library to library), as ld.so(8) would look for them: in the run
//! paths, `LD_LIBRARY_PATH`, the directories of `/etc/ld.so.conf` and the usual ones. It is only a
//! forecast: what is really mapped is read from maps, and a file that is not found here is
//! prepared when it appears there.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::LittleEndian as Endian;
use object::elf::{
    DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRTAB, FileHeader64, PT_LOAD, ProgramHeader64,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use super::open_regular;

/// Most files that are followed.
const MAX_FILES: usize = 256;
/// Most names of one file that are looked at.
const MAX_NAMES: usize = 256;
/// Longest name or run path, in bytes.
const MAX_NAME: usize = 4096;
/// Of `/proc/PID/environ` and of the loader's configuration, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// Where loaders look at last.
const USUAL: [&str; 7] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];

/// What one file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wants {
    names: Vec<OsString>,
    run_path: Vec<OsString>,
}

/// The files that the program of a process will load, without the program itself and its
/// interpreter, which are mapped already. What cannot be read is left out.
pub(super) fn of_process(pid: u32) -> Vec<File> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let Ok(path) = fs::read_link(process.join("exe")) else { return Vec::new() };
    let Ok(exe) = open_regular(&process.join("exe"), |_| true) else { return Vec::new() };
    let root = process.join("root");
    let mut directories = library_path(&process);
    directories.extend(configured(&root));
    directories.extend(USUAL.map(PathBuf::from));
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    let mut inherited = Vec::new();
    let mut queue = vec![(path, exe)];
    while let Some((path, file)) = queue.pop() {
        let wants = wants(&file);
        let origin = path.parent().unwrap_or(Path::new("/"));
        let own: Vec<PathBuf> = wants.run_path.iter().map(|dir| expand(dir, origin)).collect();
        // An old run path (DT_RPATH) holds for the libraries of libraries as well.
        for dir in &own {
            if inherited.len() < MAX_NAMES && !inherited.contains(dir) {
                inherited.push(dir.clone());
            }
        }
        for name in &wants.names {
            if seen.len() >= MAX_FILES || !seen.insert(name.clone()) {
                continue;
            }
            let places = own.iter().chain(&inherited).chain(&directories);
            let found = places.map(|dir| dir.join(name)).find_map(|path| {
                let inside = root.join(path.strip_prefix("/").ok()?);
                Some((path, open_regular(&inside, |_| true).ok()?))
            });
            queue.extend(found);
        }
        files.push(file);
    }
    // The first one is the program.
    files.remove(0);
    files
}

/// `$ORIGIN` is the directory of the file that says it.
fn expand(dir: &OsString, origin: &Path) -> PathBuf {
    let bytes = dir.as_bytes();
    let rest = [&b"$ORIGIN"[..], b"${ORIGIN}"].iter().find_map(|word| bytes.strip_prefix(*word));
    let Some(rest) = rest else { return PathBuf::from(dir) };
    let mut whole = origin.as_os_str().to_owned().into_vec();
    whole.extend(rest);
    PathBuf::from(OsString::from_vec(whole))
}

fn split(list: &[u8], at: impl Fn(u8) -> bool) -> impl Iterator<Item = OsString> {
    let parts = list.split(move |&byte| at(byte)).filter(|part| !part.is_empty());
    parts.take(MAX_NAMES).map(|part| OsString::from_vec(part.to_vec()))
}

fn read(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        // A part serves as well.
        let _ = file.take(MAX_TEXT).read_to_end(&mut text);
    }
    text
}

/// `LD_LIBRARY_PATH` of the process.
fn library_path(process: &Path) -> Vec<PathBuf> {
    let environment = read(&process.join("environ"));
    let of = environment
        .split(|&byte| byte == 0)
        .find_map(|variable| variable.strip_prefix(b"LD_LIBRARY_PATH="));
    split(of.unwrap_or_default(), |byte| byte == b':' || byte == b';').map(PathBuf::from).collect()
}

/// The directories that `/etc/ld.so.conf.d` names.
fn configured(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root.join("etc/ld.so.conf.d")) else { return Vec::new() };
    let mut directories = Vec::new();
    for entry in entries.flatten().take(MAX_NAMES) {
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let text = read(&entry.path());
        let lines = split(&text, |byte| byte == b'\n').map(PathBuf::from);
        directories.extend(lines.filter(|line| line.is_absolute()));
    }
    directories
}

fn wants(file: &File) -> Wants {
    // SAFETY: the file is only read. If its owner truncates it meanwhile, rmap gets SIGBUS, which
    // ends rmap and leaves the traced program as it is.
    let Ok(bytes) = (unsafe { Mmap::map(file) }) else { return Wants::default() };
    parse(&bytes).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Option<Wants> {
    let header = FileHeader64::<Endian>::parse(bytes).ok()?;
    let headers = header.program_headers(Endian, bytes).ok()?;
    let dynamic = headers.iter().find_map(|header| header.dynamic(Endian, bytes).ok()?)?;
    let entries =
        || dynamic.iter().take_while(|entry| entry.d_tag(Endian) != DT_NULL).take(1 << 12);
    let value = |entry: &object::elf::Dyn64<Endian>| -> u64 { entry.d_val(Endian) };
    let table = entries().find(|entry| entry.d_tag(Endian) == DT_STRTAB).map(value)?;
    let table = offset_of(headers, table)?;
    let text = |entry: &object::elf::Dyn64<Endian>| {
        let at = usize::try_from(table.checked_add(value(entry))?).ok()?;
        let rest = bytes.get(at..)?;
        let rest = rest.get(..rest.len().min(MAX_NAME))?;
        rest.get(..rest.iter().position(|&byte| byte == 0)?)
    };
    let mut wants = Wants::default();
    for entry in entries() {
        let tag = entry.d_tag(Endian);
        if tag == DT_NEEDED && wants.names.len() < MAX_NAMES {
            wants.names.extend(text(entry).map(|name| OsString::from_vec(name.to_vec())));
        } else if tag == DT_RUNPATH || tag == DT_RPATH {
            wants.run_path.extend(split(text(entry).unwrap_or_default(), |byte| byte == b':'));
        }
    }
    Some(wants)
}

/// Where in the file the byte at an address is.
fn offset_of(headers: &[ProgramHeader64<Endian>], address: u64) -> Option<u64> {
    headers.iter().filter(|header| header.p_type(Endian) == PT_LOAD).find_map(|header| {
        let within = address.checked_sub(header.p_vaddr(Endian))?;
        let inside = within < header.p_filesz(Endian);
        inside.then(|| header.p_offset(Endian).checked_add(within))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn this_program_needs_what_it_has_mapped() {
        let inode = |file: &File| file.metadata().unwrap().ino();
        let needed: HashSet<u64> = of_process(std::process::id()).iter().map(inode).collect();
        let mapped = super::super::Catalogue::default().scan(std::process::id()).unwrap();
        let libc = mapped.iter().find(|module| module.path.contains("/libc.so")).unwrap();
        assert!(needed.contains(&libc.inode), "{needed:?} {libc:?}");
    }

    #[test]
    fn the_origin_is_the_directory_of_the_file() {
        let expand = |dir: &str| expand(&OsString::from(dir), Path::new("/a/bin"));
        assert_eq!(expand("$ORIGIN/../lib"), Path::new("/a/bin/../lib"));
        assert_eq!(expand("${ORIGIN}"), Path::new("/a/bin"));
        assert_eq!(expand("/b"), Path::new("/b"));
    }

    #[test]
    fn what_is_no_program_wants_nothing() {
        assert_eq!(parse(b"#!/bin/sh\n"), None);
        assert!(of_process(u32::MAX).is_empty());
    }
}
