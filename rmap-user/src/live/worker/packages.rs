//! The lists of dpkg: which package has a file.
//!
//! Comes in: a root, and files as they were mapped. Goes out: for each the name of its package.
//! `/var/lib/dpkg/info/PACKAGE[:ARCH].list` has a line for each path of a package (dpkg's
//! `doc/spec/database-layout.txt`). Of foreign bytes nothing is done but comparing whole lines.

use std::collections::HashMap;
use std::path::Path;

use nix::fcntl::OFlag;
use std::os::unix::fs::MetadataExt as _;

use super::super::foreign::{self, Root};

const LISTS: &str = "/var/lib/dpkg/info";
/// Entries of that folder that are looked at, and bytes of a list.
const ENTRIES_MAX: usize = 100_000;
const LIST_MAX: u64 = 16 << 20;
/// Bytes of a package's name.
pub const NAME_MAX: usize = 128;

/// The package of each file. A file that is another one at its path has none.
pub fn of(root: &Root, files: &[(String, u64)]) -> Vec<Option<String>> {
    let mut found = vec![None; files.len()];
    let mut wanted: HashMap<&[u8], usize> = HashMap::new();
    for (at, (path, inode)) in files.iter().enumerate() {
        let meta = root.look(Path::new(path), OFlag::empty()).and_then(|file| file.metadata());
        if meta.is_ok_and(|meta| meta.ino() == *inode) {
            wanted.insert(path.as_bytes(), at);
            // Where /usr is merged, a package may know the file by its name before that.
            if let Some(plain) = path.strip_prefix("/usr").filter(|plain| plain.starts_with('/')) {
                wanted.insert(plain.as_bytes(), at);
            }
        }
    }
    if wanted.is_empty() {
        return found;
    }
    for entry in root.list(Path::new(LISTS), ENTRIES_MAX).unwrap_or_default() {
        let Some(package) = entry.to_str().and_then(package) else { continue };
        let Ok(list) = root.open_no_link(&Path::new(LISTS).join(&entry)) else { continue };
        let Ok(text) = foreign::read_at_most(&list.file, LIST_MAX) else { continue };
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(place) = wanted.get(line).and_then(|at| found.get_mut(*at)) {
                *place = Some(package.to_owned());
            }
        }
    }
    found
}

/// The package that a list is of, by the list's name.
fn package(list: &str) -> Option<&str> {
    let package = list.strip_suffix(".list")?;
    let package = package.split_once(':').map_or(package, |(package, _)| package);
    is_package(package).then_some(package)
}

/// Whether it is a name as Debian's policy has them (5.6.1).
pub fn is_package(name: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    name.len() <= NAME_MAX
        && name.bytes().all(fits)
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_have_the_package_whose_list_has_their_path() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::metadata(&path).unwrap().ino()
        };
        let libc = put("/usr/lib/libc.so.6", "");
        let perl = put("/usr/bin/perl", "");
        let other = put("/usr/bin/perl5", "");
        put("/var/lib/dpkg/info/libc6:amd64.list", "/.\n/lib\n/lib/libc.so.6\n");
        put("/var/lib/dpkg/info/perl-base.list", "/usr/bin\n/usr/bin/perl");
        put("/var/lib/dpkg/info/perl-base.md5sums", "/usr/bin/perl5\n");
        put("/var/lib/dpkg/info/;rm -r.list", "/usr/bin/perl5\n");
        let secret = root.path().join("var/lib/dpkg/info/secret.list");
        std::os::unix::fs::symlink("/usr/bin/perl5", secret).unwrap();
        let files = [
            ("/usr/lib/libc.so.6".to_owned(), libc),
            ("/usr/bin/perl".to_owned(), perl),
            ("/usr/bin/perl".to_owned(), perl + 1),
            ("/usr/bin/perl5".to_owned(), other),
            ("/usr/bin/none".to_owned(), 0),
        ];
        let found = of(&Root::at(root.path()).unwrap(), &files);
        let found: Vec<Option<&str>> = found.iter().map(Option::as_deref).collect();
        assert_eq!(found, [Some("libc6"), Some("perl-base"), None, None, None]);
    }

    #[test]
    fn names_of_packages() {
        assert_eq!(package("libstdc++6:amd64.list"), Some("libstdc++6"));
        for none in ["perl.md5sums", ".list", "-a.list", "a b.list", "Perl.list", "a\u{1b}.list"] {
            assert_eq!(package(none), None, "{none}");
        }
    }
}
