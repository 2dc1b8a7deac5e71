//! What the command gets, and what comes back from it.

use std::ffi::CString;

use super::support::{Seen, launch, run, shell, start};
use crate::live::ptrace::{Credentials, Error, Status};

#[test]
fn the_status_passes_through() {
    assert_eq!(run(launch(&["true"])).status, Some(Status::Code(0)));
    assert_eq!(shell("exit 7").status, Some(Status::Code(7)));
    assert_eq!(shell("kill -SEGV $$").status, Some(Status::Signal(libc::SIGSEGV)));
    assert_eq!(shell("kill -KILL $$").status, Some(Status::Signal(libc::SIGKILL)));
    assert_eq!(shell("kill -64 $$").status, Some(Status::Signal(64)));
    assert_eq!(shell("trap 'exit 3' USR1; kill -USR1 $$; sleep 9").status, Some(Status::Code(3)));
}

#[test]
fn true_is_armed_executed_exiting_ended() {
    let outcome = run(launch(&["true"]));
    let pid = outcome.pid;
    assert!(matches!(
        outcome.seen[..],
        [
            Seen::Armed { .. },
            Seen::Executed { .. },
            Seen::Exiting { last: true, shares_mm: false, .. },
            Seen::Ended { .. }
        ]
    ));
    assert_eq!(outcome.seen[1], Seen::Executed { pid, tid: pid, former_tid: pid });
    assert_eq!(outcome.seen[3], Seen::Ended { pid, status: Status::Code(0) });
}

fn refused(program: &str) -> Error {
    start(launch(&[program])).err().expect("it does not start")
}

#[test]
fn what_cannot_run_says_why() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    for missing in ["no-such-command-at-all", "/no/such/file", "", "/etc/passwd/x"] {
        let error = refused(missing);
        assert!(matches!(error, Error::NotFound { .. }), "{missing}: {error}");
        assert_eq!(error.exit_code(), 127);
    }
    let error = refused("/etc");
    assert!(matches!(error, Error::Directory { .. }), "{error}");
    assert_eq!(error.exit_code(), 126);
    let plain = file("plain", "x", 0o644);
    let unknown = file("unknown", "what is this", 0o755);
    for (program, errno) in [(plain, libc::EACCES), (unknown, libc::ENOEXEC)] {
        let error = refused(&program);
        let Error::NotExecutable { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.raw_os_error(), Some(errno));
        assert_eq!(error.exit_code(), 126);
        assert!(!error.to_string().contains('\n'));
    }
    let error = refused(&file("lost", "#!/no/such/interpreter\n", 0o755));
    assert!(matches!(error, Error::NoInterpreter { .. }), "{error}");
    assert!(matches!(refused("a\0b"), Error::NulByte { .. }));
}

#[test]
fn a_pipe_that_breaks_ends_its_writer() {
    assert_eq!(shell("yes | head -1 >/dev/null").status, Some(Status::Code(0)));
    let by_pipe = shell("(trap 'exit 9' PIPE; while :; do echo y; done) 2>&1 | :");
    assert_eq!(by_pipe.status, Some(Status::Code(0)));
    let status = run(launch(&["bash", "-c", "yes | head -1 >/dev/null; exit ${PIPESTATUS[0]}"]));
    assert_eq!(status.status, Some(Status::Code(128 + libc::SIGPIPE)));
}

#[test]
fn another_user_by_credentials() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root may become another user");
        return;
    }
    let credentials = Credentials {
        uid: 65534,
        gid: 65533,
        groups: vec![65533, 12],
        environment: vec![("HOME", "/nowhere".into())],
    };
    let mut command = launch(&[
        "sh",
        "-c",
        "test \"$(id -u) $(id -g) $(id -G)\" = '65534 65533 65533 12' && test ! -r /etc/shadow",
    ]);
    command.credentials = Some(credentials);
    assert_eq!(run(command).status, Some(Status::Code(0)));
}

#[test]
fn users_by_name_and_number() {
    let root = Credentials::of_user("root").unwrap();
    assert_eq!((root.uid, root.gid), (0, 0));
    assert!(root.groups.contains(&0));
    assert_eq!(Credentials::of_user("0").unwrap(), root);
    for nobody in ["no such user", "", "-s", "a\0b"] {
        let error = Credentials::of_user(nobody).unwrap_err();
        assert!(matches!(error, Error::User { .. }), "{error}");
    }
}

#[test]
fn users_are_those_of_the_c_library() {
    for name in ["root", "nobody", "daemon"] {
        let Ok(Some(user)) = nix::unistd::User::from_name(name) else { continue };
        let known = Credentials::of_user(name).unwrap();
        let groups = nix::unistd::getgrouplist(&CString::new(name).unwrap(), user.gid).unwrap();
        let mut groups: Vec<u32> = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
        let mut said = known.groups;
        groups.sort_unstable();
        said.sort_unstable();
        assert_eq!((known.uid, known.gid, said), (user.uid.as_raw(), user.gid.as_raw(), groups));
        assert_eq!(known.environment[0].1, user.dir.into_os_string());
    }
}
