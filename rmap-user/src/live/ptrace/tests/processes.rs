//! Processes and threads: who is seen at fork, exec and exit, in hard cases as well.

use super::support::{Program, Seen, eventually, run, shell, start};
use crate::live::ptrace::Status;

const PROGRAMS: &str = include_str!("programs.c");

#[test]
fn forks_in_a_shell() {
    let outcome = shell("(exit 3); a=$(echo b); cat /dev/null | cat; exec true");
    assert_eq!(outcome.status, Some(Status::Code(0)));
    assert_eq!(outcome.children().len(), 4);
    assert_eq!(outcome.ended(), 5);
}

#[test]
fn orphans_are_followed_to_their_end() {
    let outcome = shell("(sh -c 'sleep 0.1; exit 6' & ) ; exit 4");
    assert_eq!(outcome.status, Some(Status::Code(4)));
    let sixes = |seen: &Seen| matches!(seen, Seen::Ended { status: Status::Code(6), .. });
    assert_eq!(outcome.count(sixes), 1);
    assert!(sixes(outcome.seen.last().unwrap()), "after the command: {:#?}", outcome.seen);
}

#[test]
fn without_follow_only_the_command() {
    let program = Program::compile(PROGRAMS, &[]);
    for mode in ["clone-no-signal", "vfork-exit", "many-threads"] {
        let mut launch = program.launch(mode);
        launch.follow = false;
        let outcome = run(launch);
        assert_eq!(outcome.children(), [0; 0]);
        assert_eq!(outcome.ended(), 1);
    }
}

#[test]
fn threads_and_their_ends() {
    let program = Program::compile(PROGRAMS, &[]);
    for (mode, threads, status) in [
        ("crash", 1, Status::Signal(libc::SIGSEGV)),
        ("leader-first", 4, Status::Code(0)),
        ("exit-group-8", 9, Status::Code(5)),
    ] {
        let outcome = run(program.launch(mode));
        assert_eq!(outcome.status, Some(status), "{mode}");
        let exits = outcome.count(|seen| matches!(seen, Seen::Exiting { .. }));
        assert_eq!(exits, threads, "{mode}");
        let leader = outcome.pid;
        let last =
            |seen: &Seen| matches!(seen, Seen::Exiting { tid, last: true, .. } if *tid != leader);
        if mode == "leader-first" {
            assert_eq!(outcome.count(last), 1, "another than the leader is the last");
        }
    }
}

#[test]
fn many_threads_some_of_which_end_with_the_process() {
    // A thread that stands at its own exit when the process ends leaves that stop at once, so
    // not all of them are seen.
    let outcome = run(Program::compile(PROGRAMS, &[]).launch("many-threads"));
    assert_eq!(outcome.status, Some(Status::Code(4)));
}

#[test]
fn the_last_thread_is_known_though_all_end_at_once() {
    let program = Program::compile(PROGRAMS, &[]);
    for _ in 0..50 {
        assert_eq!(run(program.launch("exit-race-8")).status, Some(Status::Code(6)));
    }
}

#[test]
fn exec_by_any_thread() {
    let program = Program::compile(PROGRAMS, &[]);
    for mode in ["exec-thread", "exec-leader"] {
        for _ in 0..10 {
            let outcome = run(program.launch(mode));
            assert_eq!(outcome.status, Some(Status::Code(23)));
            let by_other = |seen: &Seen| match *seen {
                Seen::Executed { pid, tid, former_tid } => pid == tid && former_tid != pid,
                _ => false,
            };
            assert_eq!(outcome.count(by_other), usize::from(mode == "exec-thread"));
            assert_eq!(outcome.count(|seen| matches!(seen, Seen::Executed { .. })), 2);
        }
    }
}

#[test]
fn children_in_their_parents_memory() {
    let program = Program::compile(PROGRAMS, &[]);
    let shared = |seen: &Seen| matches!(seen, Seen::Exiting { shares_mm: true, .. });
    let born_sharing = |seen: &Seen| matches!(seen, Seen::Forked { shares_mm: true, .. });

    let outcome = run(program.launch("vfork-exit"));
    assert_eq!(outcome.status, Some(Status::Code(9)));
    assert_eq!((outcome.count(born_sharing), outcome.count(shared)), (1, 1));

    let outcome = run(program.launch("vfork-exec"));
    assert_eq!(outcome.status, Some(Status::Code(23)));
    assert_eq!((outcome.count(born_sharing), outcome.count(shared)), (1, 0));

    let outcome = run(program.launch("clone-no-signal"));
    assert_eq!(outcome.status, Some(Status::Code(0)));
    assert_eq!(outcome.children().len(), 1);
    assert_eq!((outcome.count(born_sharing), outcome.count(shared)), (0, 0));
}

#[test]
fn a_kill_from_outside_shows_the_memory_too() {
    let program = Program::compile(PROGRAMS, &[]);
    let running = start(program.launch("killed-8")).unwrap();
    let task = format!("/proc/{}/task", running.tracer.pid());
    eventually("nine threads", || std::fs::read_dir(&task).is_ok_and(|tasks| tasks.count() == 9));
    running.tracer.forward_signal(libc::SIGKILL);
    let outcome = running.finish();
    outcome.check();
    assert_eq!(outcome.status, Some(Status::Signal(libc::SIGKILL)));
    assert_eq!(outcome.count(|seen| matches!(seen, Seen::Exiting { .. })), 9);
}
