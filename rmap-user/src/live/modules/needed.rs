//! Which files a program will load when it starts, so that their unwind tables are there before its
//! first instruction.
//!
//! Comes in: a process that stands behind its exec. Goes out: the files that its headers name
//! (`DT_NEEDED`, followed from library to library), as ld.so(8) would look for them: in the run
//! paths, `LD_LIBRARY_PATH`, the folders of `/etc/ld.so.conf` and the usual ones. It is only a
//! forecast: what is really mapped is read from maps, and a file that is not found here is
//! prepared when it appears there. The program stands meanwhile, so files, look-ups and time have
//! a bound, whatever its headers name.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Catalogue, Known};
use crate::live::worker::protocol::{Answer, Place, Request};
use crate::symbol::Binary;

/// Most files that are followed.
const FILES_MAX: usize = 256;
/// Most folders that are looked in for one library.
const FOLDERS_MAX: usize = 64;
/// Look-ups of one program.
const LOOKUPS_MAX: u32 = 8192;
/// Time of one program, of which one request has a part.
const TIME_MAX: Duration = Duration::from_millis(2000);
const TIME: Duration = Duration::from_millis(400);
/// Of `/proc/PID/environ`, in bytes.
const ENVIRONMENT_MAX: u64 = 1 << 20;

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

impl Catalogue {
    /// The files that the program of a process will load, without the program itself and its
    /// interpreter, which are mapped already. What cannot be read is left out.
    pub(super) fn needed(&mut self, pid: u32) -> Vec<Arc<Binary>> {
        let Ok(program) = self.open(Place::Exe { pid }) else { return Vec::new() };
        let begun = Instant::now();
        if program.needs.names.is_empty() {
            return Vec::new();
        }
        let mut folders = self.library_path(pid);
        folders.extend(self.loader_paths(pid));
        folders.extend(USUAL.map(str::to_owned));
        let mut left = LOOKUPS_MAX;
        let mut seen = HashSet::new();
        let mut inherited: Vec<String> = Vec::new();
        let mut files = Vec::new();
        let mut queue = vec![program];
        while let Some(Known { binary, needs }) = queue.pop() {
            let origin = binary.opened_as.as_deref().and_then(|path| Path::new(path).parent());
            let origin = origin.and_then(Path::to_str).unwrap_or("/");
            let own: Vec<String> = needs.run_path.iter().map(|dir| expand(dir, origin)).collect();
            // An old run path (DT_RPATH) holds for the libraries of libraries as well.
            for folder in &own {
                if inherited.len() < FOLDERS_MAX && !inherited.contains(folder) {
                    inherited.push(folder.clone());
                }
            }
            let mut names = needs.names.clone();
            names.retain(|name| seen.len() < FILES_MAX && seen.insert(name.clone()));
            if !names.is_empty() && begun.elapsed() < TIME_MAX {
                let mut places: Vec<String> = Vec::new();
                for folder in own.iter().chain(&inherited).chain(&folders) {
                    if places.len() < FOLDERS_MAX && !places.contains(folder) {
                        places.push(folder.clone());
                    }
                }
                for path in self.find(pid, &names, places, &mut left) {
                    if begun.elapsed() < TIME_MAX {
                        queue.extend(self.open_needed(pid, path));
                    }
                }
            }
            files.push(binary);
        }
        // The first one is the program.
        files.remove(0);
        files
    }

    /// Where the libraries are, as paths with what they are.
    fn find(
        &mut self,
        pid: u32,
        names: &[String],
        folders: Vec<String>,
        left: &mut u32,
    ) -> Vec<(String, crate::symbol::Stamp)> {
        let all: Vec<u32> = (0..).take(folders.len()).collect();
        let names: Vec<_> = names.iter().map(|name| (name.clone(), all.clone())).collect();
        // What it takes at most, so that the sum over all files is bounded too.
        let lookups = u32::try_from(names.len() * (folders.len() + 1)).unwrap_or(u32::MAX);
        let lookups = lookups.min(*left);
        *left -= lookups;
        let request = Request::Find { pid, names, folders, lookups };
        match self.worker.ask(&request, None, TIME).map(|reply| reply.answer) {
            Ok(Answer::Found(found, _)) => found.into_iter().flatten().collect(),
            _ => Vec::new(),
        }
    }

    fn open_needed(&mut self, pid: u32, found: (String, crate::symbol::Stamp)) -> Option<Known> {
        let (path, stamp) = found;
        if let Some(known) = self.by_stamp.get(&stamp) {
            return Some(known.clone());
        }
        self.open(Place::Below { pid, path }).ok()
    }

    /// `LD_LIBRARY_PATH` of the process.
    fn library_path(&mut self, pid: u32) -> Vec<String> {
        let request = Request::Text { pid, name: "environ".to_owned(), most: ENVIRONMENT_MAX };
        let Ok(reply) = self.worker.ask(&request, None, TIME) else { return Vec::new() };
        let variables = reply.body.split(|&byte| byte == 0);
        let of = variables.filter_map(|variable| variable.strip_prefix(b"LD_LIBRARY_PATH=")).next();
        let of = of.and_then(|of| std::str::from_utf8(of).ok()).unwrap_or_default();
        let folders = of.split([':', ';']).filter(|folder| folder.starts_with('/'));
        folders.take(FOLDERS_MAX / 2).map(str::to_owned).collect()
    }

    /// The folders that `/etc/ld.so.conf.d` names.
    fn loader_paths(&mut self, pid: u32) -> Vec<String> {
        let request = Request::LoaderPaths { pid };
        match self.worker.ask(&request, None, TIME).map(|reply| reply.answer) {
            Ok(Answer::Paths(mut paths)) => {
                paths.truncate(FOLDERS_MAX / 2);
                paths
            }
            _ => Vec::new(),
        }
    }
}

/// A run path with its `$ORIGIN`, the folder of the file that names it.
fn expand(folder: &str, origin: &str) -> String {
    for token in ["$ORIGIN", "${ORIGIN}"] {
        if let Some(rest) = folder.strip_prefix(token) {
            return format!("{origin}{rest}");
        }
    }
    folder.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_needs_what_it_has_mapped() {
        let mut catalogue = Catalogue::default();
        let needed = catalogue.needed(std::process::id());
        let needed: HashSet<u64> = needed.iter().map(|file| file.stamp.unwrap().inode).collect();
        let mapped = catalogue.scan(std::process::id()).unwrap();
        let libc = mapped.iter().find(|module| module.path.contains("/libc.so")).unwrap();
        assert!(needed.contains(&libc.inode), "{needed:?} {libc:?}");
    }

    #[test]
    fn the_origin_is_the_directory_of_the_file() {
        assert_eq!(expand("$ORIGIN/../lib", "/a/bin"), "/a/bin/../lib");
        assert_eq!(expand("${ORIGIN}", "/a/bin"), "/a/bin");
        assert_eq!(expand("/b", "/a/bin"), "/b");
    }

    #[test]
    fn a_process_that_is_gone_needs_nothing() {
        assert!(Catalogue::default().needed(u32::MAX).is_empty());
    }
}
