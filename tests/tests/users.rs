//! `rmap run --user`: the command runs as somebody else, rmap as root.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::process::Command;

use rmap_tests::job::{Job, PAGE};
use rmap_tests::process::{Running, run};
use rmap_tests::rmap::{finish, reports, rmap};
use rmap_tests::{begin, facts, workload};

/// The user that every system has, without rights.
const NOBODY: &str = "nobody";

#[test]
fn a_command_of_another_user_is_told_as_any_other() {
    let machine = begin!();
    // Whoever is nobody must be able to reach the program.
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = dir.path().join("interleaved");
    std::fs::copy(workload::build("interleaved"), &copy).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    let mut rmap = reports(machine.scratch(), "run");
    rmap.args(["--user", NOBODY, "--"]).arg(&copy).current_dir(dir.path());
    let job = Job::end(machine.scratch(), Running::start(&mut rmap, None));
    job.expect_kernel_sizes();
    job.expect("written", "write_first_of_three", "first-write");
    job.expect_whole("written");
    assert_eq!(job.segment("written").rss_bytes.after, 1024 * PAGE);
    // What rmap writes stays its own user's, and nobody else's business.
    let recording = std::fs::metadata(machine.scratch().join("recording")).unwrap();
    assert_eq!((recording.uid(), recording.mode() & 0o777), (0, 0o600));
}

#[test]
fn the_command_has_the_users_ids_and_groups_and_the_callers_environment() {
    let machine = begin!();
    let id = |of: &[&str]| run(Command::new("id").args(of)).out();
    let expected = format!("{}{}{}", id(&["-u", NOBODY]), id(&["-g", NOBODY]), id(&["-G", NOBODY]));
    let uid = id(&["-u", NOBODY]);
    for user in [NOBODY, uid.trim()] {
        let mut rmap = reports(machine.scratch(), "run");
        rmap.args([
            "--user",
            user,
            "--",
            "/bin/sh",
            "-c",
            "id -u; id -g; id -G; echo $KEPT; exit 5",
        ]);
        rmap.env("KEPT", "as given").current_dir("/");
        let traced = finish(machine.scratch(), Running::start(&mut rmap, None));
        assert_eq!(traced.ended.code(), 5, "{}", traced.ended.err());
        assert_eq!(traced.ended.out(), format!("{expected}as given\n"));
        facts::assert_sound(&traced.report);
        facts::assert_nothing_lost(&traced.report);
    }
}

#[test]
fn a_command_that_its_user_may_not_execute_or_a_user_who_is_not_there_is_one_line() {
    let machine = begin!();
    let file = machine.scratch().join("private");
    std::fs::copy("/bin/true", &file).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o700)).unwrap();
    let ended = run(rmap(["run", "--user", NOBODY, "--"]).arg(&file));
    assert_eq!((ended.code(), ended.err().lines().count()), (126, 1), "{}", ended.err());
    let ended = run(&mut rmap(["run", "--user", "no-such-user-anywhere", "--", "true"]));
    assert_eq!((ended.code(), ended.err().lines().count()), (1, 1), "{}", ended.err());
    assert!(ended.err().contains("no-such-user-anywhere"), "{}", ended.err());
}
