//! Stacks of known shape at the very instruction of a fault.

use crate::files::{Built, FLAGS, build};
use crate::other::Verdict;
use crate::tracee::Tracee;
use nix::sys::signal::Signal;
use rmap::trace::StackEnd;
use rmap::unwind::walk::Walk;
use rmap_ebpf::abi::MAX_FRAMES;
use std::path::Path;

/// What is below `main` in every program that is linked in the usual way.
const COMMON: &[&str] = &["main", "_start"];

struct Found {
    names: Vec<String>,
    walk: Walk,
    verdict: Verdict,
    text: String,
}

fn fault(program: &Path, args: &[&str]) -> Found {
    let mut tracee = Tracee::start(program, args, &[]);
    assert!(tracee.run_to(Signal::SIGSEGV), "{args:?} ended without a fault");
    found(&mut tracee, program)
}

fn found(tracee: &mut Tracee, program: &Path) -> Found {
    tracee.refresh();
    let registers = tracee.registers();
    let walk = tracee.walk(&registers);
    let names = tracee.names(&walk, program);
    let other = tracee.other.walk(&registers, |address| tracee.read(address));
    let verdict = Verdict::of(&walk.ips, &other);
    let list = |ips: &[u64]| {
        ips.iter().take(40).map(|&ip| format!("  {}\n", tracee.describe(ip))).collect::<String>()
    };
    let text = format!("{:?}\n{}framehop:\n{}", walk.end, list(&walk.ips), list(&other));
    Found { names, walk, verdict, text }
}

#[track_caller]
fn check(found: &Found, expected: &[&str], end: StackEnd) {
    assert_eq!(found.names, expected, "{}", found.text);
    assert_eq!(found.walk.end, end, "{}", found.text);
}

/// All cases of one program; `start` is what follows `main`.
fn all_cases(built: &Built, start: &[&str], end: StackEnd, same: bool) {
    let program = &built.program;
    for (case, chain) in [
        ("plain", &["touch", "inner"][..]),
        ("qsort", &["touch", "compare", "sorted"]),
        ("signal", &["touch", "inner", "handler", "raised"]),
        ("sigaltstack", &["touch", "inner", "handler", "raised"]),
        ("alloca", &["touch", "inner", "dynamic"]),
        ("drap", &["touch", "inner", "aligned"]),
        ("large", &["touch", "inner", "large"]),
        ("tail", &["touch", "inner", "tail"]),
        ("busy", &["touch", "inner", "busy"]),
        ("printed", &["touch", "inner", "printed"]),
        ("atexit", &["touch", "inner", "at_exit", "early"]),
        ("shallow", &["touch", "recurse", "recurse", "recurse"]),
    ] {
        let found = fault(program, &[case]);
        let mut names: Vec<&str> = found.names.iter().map(String::as_str).collect();
        if !same {
            // A static program has the C library's own functions in it.
            let known = ["touch", "inner", "compare", "sorted", "handler", "raised", "dynamic"];
            let more = ["aligned", "large", "tail", "busy", "printed", "at_exit", "early"];
            let last = ["main", "recurse"];
            names.retain(|name| {
                known.contains(name)
                    || more.contains(name)
                    || last.contains(name)
                    || start.contains(name)
            });
        }
        let mut expected = chain.to_vec();
        if case == "shallow" {
            expected.extend(["recurse"; 17]);
        }
        expected.extend(start);
        assert_eq!(names, expected, "{case}: {}", found.text);
        assert_eq!(found.walk.end, end, "{case}: {}", found.text);
    }
}

fn cases() -> Option<Built> {
    build("gcc", "cases.c", &[FLAGS, &["-Wl,-z,lazy"]].concat())
}

#[test]
fn every_case_has_its_whole_chain() {
    let Some(built) = cases() else { return };
    all_cases(&built, COMMON, StackEnd::Complete, true);
}

#[test]
fn another_unwinder_finds_the_same() {
    let Some(built) = cases() else { return };
    for case in ["plain", "qsort", "alloca", "large", "busy", "printed", "atexit", "recurse"] {
        let found = fault(&built.program, &[case]);
        assert_eq!(found.verdict, Verdict::Same, "{case}: {}", found.text);
    }
    // framehop ends at the trampoline of a signal handler.
    for case in ["signal", "sigaltstack"] {
        let found = fault(&built.program, &[case]);
        assert_eq!(found.verdict, Verdict::Longer, "{case}: {}", found.text);
    }
    // framehop goes wrong below an over-aligned frame (DRAP): it finds the caller twice, or ends.
    let found = fault(&built.program, &["drap"]);
    let verdict = found.verdict;
    assert!(matches!(verdict, Verdict::Different | Verdict::Longer), "drap: {}", found.text);
}

#[test]
fn a_tail_call_leaves_no_frame() {
    let Some(built) = build("gcc", "cases.c", &["-O2", "-fomit-frame-pointer"]) else { return };
    check(
        &fault(&built.program, &["tail"]),
        &["touch", "inner", "main", "_start"],
        StackEnd::Complete,
    );
}

#[test]
fn deep_recursion_is_cut_at_the_most_frames_there_are() {
    let Some(built) = cases() else { return };
    let found = fault(&built.program, &["recurse"]);
    assert_eq!(found.walk.ips.len(), MAX_FRAMES);
    assert_eq!(found.walk.end, StackEnd::Truncated);
    assert!(found.names[1..].iter().all(|name| name == "recurse"), "{}", found.text);
}

#[test]
fn a_thread_ends_where_it_was_started() {
    let Some(built) = cases() else { return };
    check(&fault(&built.program, &["thread"]), &["touch", "inner", "thread"], StackEnd::Complete);
}

#[test]
fn a_coroutine_ends_at_its_own_start() {
    let Some(built) = cases() else { return };
    let found = fault(&built.program, &["context"]);
    assert_eq!(found.names, ["touch", "inner", "coroutine"], "{}", found.text);
    // What stands below __start_context on its stack is the link, which is no code.
    assert!(matches!(found.walk.end, StackEnd::NoMapping | StackEnd::Complete), "{}", found.text);
}

fn fault_in_handler(built: &Built) -> Found {
    let mut tracee = Tracee::start(&built.program, &["faulted"], &[]);
    assert!(tracee.run_to(Signal::SIGSEGV));
    // The program handles SIGBUS; what it gets is decided here.
    assert!(tracee.run_past(Signal::SIGSEGV, Some(Signal::SIGBUS)));
    found(&mut tracee, &built.program)
}

#[test]
fn a_handler_stands_above_the_instruction_that_got_the_signal() {
    let Some(built) = cases() else { return };
    let found = fault_in_handler(&built);
    let chain = ["touch", "inner", "handler", "faulted", "main", "_start"];
    check(&found, &chain, StackEnd::Complete);
}

#[test]
fn loaded_code_is_walked_once_its_table_is_there() {
    let Some(built) = cases() else { return };
    let library = built.program.with_file_name("library.so");
    let flags = [FLAGS, &["-shared", "-fPIC"]].concat();
    let Some(other) = build("gcc", "library.c", &flags) else { return };
    std::fs::copy(&other.program, &library).unwrap();
    let found = fault(&built.program, &["dlopen", library.to_str().unwrap()]);
    let chain = ["touch", "within", "library", "loaded", "main", "_start"];
    check(&found, &chain, StackEnd::Complete);
}

#[test]
fn a_destructor_stands_above_the_function_that_an_exception_leaves() {
    let Some(built) = build("g++", "thrown.cc", FLAGS) else { return };
    let found = fault(&built.program, &[]);
    let chain = ["_Z5touchv", "_ZN5GuardD2Ev", "_Z7guardedi", "main", "_start"];
    assert_eq!(found.walk.end, StackEnd::Complete, "{}", found.text);
    let names: Vec<_> = found.names.iter().map(|name| name.replace("D1Ev", "D2Ev")).collect();
    let names: Vec<_> = names.iter().map(|name| name.trim_end_matches(".cold")).collect();
    assert_eq!(names, chain, "{}", found.text);
}

#[test]
fn static_programs_have_their_whole_chain() {
    for link in [&["-static-pie", "-fPIE"][..], &["-static", "-no-pie"]] {
        let Some(built) = build("gcc", "cases.c", &[FLAGS, link].concat()) else { return };
        all_cases(&built, COMMON, StackEnd::Complete, false);
    }
}

/// Debian's musl has no call frame information at all: its code is followed instead.
#[test]
fn musl_programs_have_their_chain() {
    let flags = [FLAGS, &["-DNO_UCONTEXT"]].concat();
    for link in [&[][..], &["-static"]] {
        let Some(built) = build("musl-gcc", "cases.c", &[&flags, link].concat()) else { return };
        let check = |found: &Found, chain: &[&str]| {
            let names: Vec<_> =
                found.names.iter().filter(|name| chain.contains(&name.as_str())).collect();
            assert_eq!(names, chain, "{link:?}: {}", found.text);
            assert_eq!(found.walk.end, StackEnd::Complete, "{link:?}: {}", found.text);
        };
        check(&fault(&built.program, &["plain"]), &["touch", "inner", "main"]);
        check(&fault(&built.program, &["drap"]), &["touch", "inner", "aligned", "main"]);
        let handled = fault_in_handler(&built);
        check(&handled, &["touch", "inner", "handler", "faulted", "main"]);
    }
}

#[test]
fn code_described_by_debug_frame_alone_is_walked() {
    let flags = [FLAGS, &["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]].concat();
    let Some(built) = build("gcc", "cases.c", &flags) else { return };
    let mut tracee = Tracee::start(&built.program, &["busy"], &[]);
    assert!(tracee.run_to(Signal::SIGSEGV));
    let found = found(&mut tracee, &built.program);
    check(&found, &["touch", "inner", "busy", "main", "_start"], StackEnd::Complete);
    assert!(tracee.table("program").stats.debug_frame > 10);
}

#[test]
fn code_with_frame_pointers_and_without_tables_is_followed() {
    let flags = ["-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"];
    let none = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let Some(built) = build("gcc", "cases.c", &[&flags[..], &none].concat()) else { return };
    let found = fault(&built.program, &["busy"]);
    check(&found, &["touch", "inner", "busy", "main", "_start"], StackEnd::Complete);
}

#[test]
fn code_without_tables_and_frame_pointers_is_followed() {
    let none =
        ["-O2", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let Some(built) = build("gcc", "cases.c", &none) else { return };
    let found = fault(&built.program, &["busy"]);
    check(&found, &["touch", "inner", "busy", "main", "_start"], StackEnd::Complete);
}
