//! `-o`, `--json`, `--record` in folders where another user has put something at the name: rmap, as
//! root, writes nothing through it and refuses before the command starts.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rmap_tests::begin;
use rmap_tests::machine::Machine;
use rmap_tests::process::run;
use rmap_tests::rmap::rmap;

/// Another user: any id but root's.
const STRANGER: u32 = 4242;
const OPTIONS: [&str; 3] = ["-o", "--json", "--record"];

/// A folder that is the stranger's.
fn folder(machine: &Machine) -> std::path::PathBuf {
    let folder = machine.scratch().join("theirs");
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(STRANGER), Some(STRANGER)).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn outputs_never_go_through_another_users_files_links_or_pipes() {
    let machine = begin!();
    let folder = folder(&machine);
    let at = |name: &str| folder.join(name);
    let secret = machine.scratch().join("secret");
    fs::write(&secret, "secret").unwrap();
    for (name, mode) in [("plain", 0o666), ("setuid", 0o4777), ("setgid", 0o6755)] {
        fs::write(at(name), "theirs").unwrap();
        chown(at(name), Some(STRANGER), Some(STRANGER)).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    chown(at("fifo"), Some(STRANGER), Some(STRANGER)).unwrap();
    for (name, to) in
        [("link", secret.as_path()), ("dangling", &at("made")), ("up", Path::new("."))]
    {
        symlink(to, at(name)).unwrap();
        lchown(at(name), Some(STRANGER), Some(STRANGER)).unwrap();
    }
    let before = names(&folder);
    for option in OPTIONS {
        for name in ["plain", "setuid", "setgid", "fifo", "link", "dangling", "up/new"] {
            let mut command = rmap(["run", option]);
            let ended = run(command.arg(at(name)).args(["--", "touch"]).arg(at("started")));
            let text = ended.err();
            assert_eq!((ended.code(), text.lines().count()), (1, 1), "{option} {name}: {text}");
            assert!(text.contains("user 4242"), "{option} {name}: {text}");
        }
    }
    assert_eq!(names(&folder), before);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(fs::read_to_string(at("plain")).unwrap(), "theirs");
    assert_eq!(fs::metadata(at("setuid")).unwrap().mode() & 0o7777, 0o4777);
}

#[test]
fn outputs_in_another_users_folder_are_private_new_files_of_the_caller() {
    let machine = begin!();
    let folder = folder(&machine);
    let at = |name: &str| folder.join(name);
    // A set-id file of root's own, which a report replaces.
    fs::write(at("own"), "old").unwrap();
    fs::set_permissions(at("own"), fs::Permissions::from_mode(0o4755)).unwrap();
    let mut command = rmap(["run", "-o"]);
    command
        .arg(at("own"))
        .arg("--json")
        .arg(at("report.json"))
        .arg("--record")
        .arg(at("recording"));
    command.env("SUDO_UID", "4242").env("SUDO_GID", "4242");
    let ended = run(command.args(["--", "true"]));
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let found = |name: &str| {
        let found = fs::metadata(at(name)).unwrap();
        (found.uid(), found.mode() & 0o7777)
    };
    assert_eq!(found("own"), (0, 0o755));
    assert_eq!(found("recording"), (STRANGER, 0o600));
    assert_eq!(found("report.json").0, STRANGER);
    assert_eq!(names(&folder), ["own", "recording", "report.json"]);
}

#[test]
fn a_pipe_that_nobody_reads_does_not_keep_rmap() {
    let machine = begin!();
    let pipe = machine.scratch().join("fifo");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    for option in OPTIONS {
        let begun = Instant::now();
        let other = if option == "-o" { "--json" } else { "-o" };
        let mut command = rmap(["run", other, "/dev/null", option]);
        let ended = run(command.arg(&pipe).args(["--", "true"]));
        let text = ended.err();
        assert_eq!((ended.code(), text.lines().count()), (1, 1), "{option}: {text}");
        assert!(text.contains("nobody reads this pipe"), "{option}: {text}");
        let most = Duration::from_secs(5) * rmap_tests::machine::slow();
        assert!(begun.elapsed() < most, "{option}: {:?}", begun.elapsed());
    }
    // Process substitution and the like still work.
    let binary = rmap_tests::rmap::binary();
    let script = "\"$0\" run -o /dev/null --json /dev/fd/3 -- true 3>&1 | grep -c rmap.report";
    let ended = run(std::process::Command::new("sh").args(["-c", script]).arg(binary));
    assert_eq!(ended.out(), "1\n", "{}", ended.err());
}
