//! What becomes of a file, link, pipe or device that has the name already. Files of another user
//! exist only where root runs the tests.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use nix::sys::stat::Mode;

use super::*;

const STRANGER: u32 = 4242;

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn text(error: &Error) -> String {
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn put(path: &Path) -> Result<(), Error> {
    save(path, |out| out.write_all(b"new"))
}

fn is_root(name: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("SKIP {name}: files of another user need root");
    }
    root
}

#[test]
fn a_failure_leaves_the_old_file_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.json");
    fs::write(&path, "old").unwrap();
    let error = save(&path, |out| {
        out.write_all(&[b'x'; 100_000])?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    })
    .unwrap_err();
    assert_eq!(text(&error), format!("cannot write {}: no storage space", path.display()));
    assert_eq!(names(directory.path()), ["out.json"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
}

#[test]
fn an_own_link_and_the_permissions_stay() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("real"), directory.path().join("link"));
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real", &link).unwrap();
    put(&link).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(mode(&path), 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(directory.path()).len(), 2);
}

#[test]
fn a_new_report_has_the_umask_and_a_recording_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap().trim();
    let umask = u32::from_str_radix(umask, 8).unwrap();
    let (report, recording) = (directory.path().join("report"), directory.path().join("rec"));
    put(&report).unwrap();
    assert_eq!(mode(&report), 0o666 & !umask);
    fs::write(&recording, "old").unwrap();
    fs::set_permissions(&recording, fs::Permissions::from_mode(0o644)).unwrap();
    let file = keep(&recording).unwrap();
    assert_eq!(mode(&recording), 0o600);
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn set_id_bits_are_never_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out");
    for bits in [0o4777, 0o6755, 0o2644] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        put(&path).unwrap();
        assert_eq!(mode(&path), bits & 0o777);
    }
}

#[test]
fn a_replaced_file_is_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("out"), directory.path().join("other"));
    fs::write(&other, "kept").unwrap();
    fs::hard_link(&other, &path).unwrap();
    put(&path).unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
    fs::remove_file(&path).unwrap();
    fs::hard_link(&other, &path).unwrap();
    keep(&path).unwrap().write_all(b"recording").unwrap();
    assert_eq!(fs::read_to_string(&other).unwrap(), "kept");
}

#[test]
fn files_and_links_of_another_user_are_refused() {
    if !is_root("files_and_links_of_another_user_are_refused") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("secret"), "secret").unwrap();
    fs::create_dir(at("private")).unwrap();
    fs::write(at("theirs"), "old").unwrap();
    fs::set_permissions(at("theirs"), fs::Permissions::from_mode(0o666)).unwrap();
    chown(at("theirs"), Some(STRANGER), Some(STRANGER)).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::from_bits_truncate(0o666)).unwrap();
    chown(at("fifo"), Some(STRANGER), Some(STRANGER)).unwrap();
    for (link, to) in [("link", "secret"), ("dangling", "made"), ("folder", "private")] {
        symlink(to, at(link)).unwrap();
        lchown(at(link), Some(STRANGER), Some(STRANGER)).unwrap();
    }
    // A link of root's to a link of theirs.
    symlink("link", at("indirect")).unwrap();
    for name in ["theirs", "fifo", "link", "dangling", "folder/new", "indirect"] {
        for result in [check(&at(name)), put(&at(name)), keep(&at(name)).map(drop)] {
            let text = text(&result.unwrap_err());
            assert!(text.contains("user 4242"), "{name}: {text}");
        }
    }
    assert_eq!(fs::read_to_string(at("secret")).unwrap(), "secret");
    assert_eq!(fs::read_to_string(at("theirs")).unwrap(), "old");
    assert!(names(&at("private")).is_empty() && !at("made").exists());
    assert_eq!(names(directory.path()).len(), 8);
}

#[test]
fn under_sudo_files_are_the_callers() {
    if !is_root("under_sudo_files_are_the_callers") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let owners = Owners { effective: 0, caller: Some((STRANGER, STRANGER)) };
    create::save(&at("report"), &owners, |out| out.write_all(b"new")).unwrap();
    create::keep(&at("recording"), &owners).unwrap();
    for name in ["report", "recording"] {
        let found = fs::metadata(at(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (STRANGER, STRANGER), "{name}");
    }
    assert_eq!(mode(&at("recording")), 0o600);
    // Their own files and links are theirs to name; a file of root's stays root's.
    symlink("report", at("link")).unwrap();
    lchown(at("link"), Some(STRANGER), Some(STRANGER)).unwrap();
    create::save(&at("link"), &owners, |out| out.write_all(b"newer")).unwrap();
    assert_eq!(fs::read_to_string(at("report")).unwrap(), "newer");
    fs::write(at("roots"), "old").unwrap();
    create::save(&at("roots"), &owners, |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::metadata(at("roots")).unwrap().uid(), 0);
    let other = Owners { caller: Some((STRANGER + 1, STRANGER + 1)), ..owners };
    assert!(create::check(&at("report"), &other).is_err());
}

#[test]
fn a_pipe_that_nobody_reads_is_refused_within_a_second_or_two() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    check(&path).unwrap();
    let error = put(&path).unwrap_err();
    assert!(text(&error).ends_with("nobody reads this pipe"), "{error}");
    assert!(keep(&path).is_err());

    let reader = std::thread::spawn({
        let path = path.clone();
        move || fs::read_to_string(path).unwrap()
    });
    put(&path).unwrap();
    assert_eq!(reader.join().unwrap(), "new");
}

#[test]
fn descriptors_by_path_are_written_as_they_are() {
    let (mut read, write) = io::pipe().unwrap();
    let path = place::descriptor_path(&write);
    let dev = format!("/dev/fd/{}", path.file_name().unwrap().display());
    check(Path::new(&dev)).unwrap();
    put(Path::new(&dev)).unwrap();
    put(&path).unwrap();
    let mut six = [0; 6];
    read.read_exact(&mut six).unwrap();
    assert_eq!(&six, b"newnew");
    put(Path::new("/dev/null")).unwrap();

    // A file that is open already is written where it stands, not replaced.
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"old ").unwrap();
    put(&place::descriptor_path(&file)).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 7);
}

#[test]
fn a_full_device_is_told_in_one_line() {
    let error = put(Path::new("/dev/full")).unwrap_err();
    assert!(text(&error).starts_with("cannot write /dev/full: No space left"), "{error}");
}

#[test]
fn what_cannot_work_is_told_early() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "").unwrap();
    symlink("loop", at("loop")).unwrap();
    for path in ["", "no/such", "file/x", "new/", ".", "loop"] {
        assert!(check(&at(path)).is_err(), "{path}");
    }
    for path in ["", ".", "/", "/proc/new", "/proc/self/comm", "/proc/self/exe"] {
        assert!(check(Path::new(path)).is_err(), "{path}");
    }
    check(&at("new")).unwrap();
    check(&at("../new")).unwrap();
    check(Path::new("new")).unwrap();
    assert_eq!(names(directory.path()).len(), 2);
}
