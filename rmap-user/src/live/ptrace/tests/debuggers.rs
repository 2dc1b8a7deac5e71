//! Programs that use ptrace themselves work as they do alone.

use std::process::Command;

use super::support::{Outcome, Program, Seen, launch, run, shell, start};
use crate::live::ptrace::Status;

const TRACEME: &str = include_str!("traceme.c");

fn installed(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

fn unfollowed(outcome: &Outcome) -> usize {
    outcome.count(|seen| matches!(seen, Seen::Unfollowed { .. }))
}

#[test]
fn a_program_that_traces_its_child_works() {
    let program = Program::compile(TRACEME, &[]);
    let outcome = run(program.launch(""));
    assert_eq!(outcome.status, Some(Status::Code(7)));
    assert!(outcome.seen.contains(&Seen::Unfollowed { pid: outcome.pid }));
    assert_eq!(outcome.children(), [0; 0]);
}

#[test]
fn below_a_shell_and_static_as_well() {
    let program = Program::compile(TRACEME, &["-static"]);
    let outcome = shell(&format!("{}; echo $? >/dev/null; true", program.path().display()));
    assert_eq!(outcome.status, Some(Status::Code(0)));
    assert_eq!((unfollowed(&outcome), outcome.children().len()), (1, 1));
    let seven = |seen: &Seen| matches!(seen, Seen::Ended { status: Status::Code(7), .. });
    assert_eq!(outcome.count(seven), 1);
}

#[test]
fn children_are_followed_again_after_the_next_exec() {
    let program = Program::compile(
        "#include <sys/ptrace.h>\n#include <unistd.h>\nint main(void) { if (ptrace(99, 0, 0, 0) == \
         0) return 1; execlp(\"sh\", \"sh\", \"-c\", \"(exit 1); exit 6\", (char *)0); return 2; }",
        &[],
    );
    let outcome = run(program.launch(""));
    assert_eq!(outcome.status, Some(Status::Code(6)));
    assert_eq!((unfollowed(&outcome), outcome.children().len()), (1, 1));
}

#[test]
fn strace_works() {
    if !installed("strace") {
        return;
    }
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("log");
    let words = ["strace", "-f", "-o", file.to_str().unwrap(), "sh", "-c", "(exit 1); exit 7"];
    assert_eq!(run(launch(&words)).status, Some(Status::Code(7)));
    let log = std::fs::read_to_string(file).unwrap();
    assert!(log.contains("exit_group(7)") && log.contains("execve("), "{log}");
}

#[test]
fn gdb_works() {
    if !installed("gdb") {
        return;
    }
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("log");
    let program = Program::compile(include_str!("programs.c"), &["-g"]);
    let script = format!(
        "gdb -nx -batch -ex 'break main' -ex run -ex kill {} > {} 2>&1",
        program.path().display(),
        file.display()
    );
    assert_eq!(shell(&script).status, Some(Status::Code(0)));
    let log = std::fs::read_to_string(file).unwrap();
    assert!(log.contains("Breakpoint 1, main"), "{log}");
}

#[test]
fn the_leak_sanitizer_works() {
    const LEAK: &str = "#include <stdlib.h>\nchar *volatile kept;\nint main(void) { kept = \
                        malloc(77); kept = 0; return 0; }";
    for flags in [
        &["-fsanitize=address"][..],
        &["-fsanitize=leak"],
        &["-fsanitize=address", "-static-libasan"],
    ] {
        let Some(program) = Program::try_compile(LEAK, flags) else {
            eprintln!("skipped: the C compiler has no {flags:?}");
            continue;
        };
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("log");
        let alone = Command::new(program.path()).output().unwrap();
        let script = format!("exec {} 2>{}", program.path().display(), file.display());
        let running = start(launch(&["sh", "-c", &script])).unwrap();
        let outcome = running.finish();
        let code = alone.status.code().map(Status::Code);
        assert_eq!(outcome.status, code, "{flags:?}");
        assert_ne!(code, Some(Status::Code(0)));
        let log = std::fs::read_to_string(file).unwrap();
        assert!(log.contains("77 byte(s)"), "{flags:?}: {log}");
        assert_eq!(unfollowed(&outcome), 1);
    }
}
