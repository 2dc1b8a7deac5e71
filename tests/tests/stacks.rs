//! Stacks of code without frame pointers: for every page of a region the whole chain of callers,
//! with no function missing and none too many, and an end that is said.

use std::collections::BTreeMap;
use std::process::Command;

use rmap_tests::begin;
use rmap_tests::chain::{
    expect_beginning, expect_chain, expect_leaf, jobs, jobs_of, libc_has_names, own, stacks,
};
use rmap_tests::facts;
use rmap_tests::job::PAGE;
use rmap_tests::machine::Machine;
use rmap_tests::process::{has_program, run};
use rmap_tests::rmap::trace;
use rmap_tests::workload::{self, BARE, LIBRARY};

#[test]
fn memset_and_memcpy_are_leaves_under_their_callers() {
    let machine = begin!();
    // memcpy and memmove are the same code, and tables of symbols name either.
    for (how, caller, leaves) in [
        ("memset", "call_memset", &["memset"][..]),
        ("memcpy", "call_memcpy", &["memcpy", "memmove"]),
    ] {
        for job in jobs(&machine, "stacks_calls", &[how]) {
            expect_chain(&job, "memory", &[caller, "main"]);
            expect_leaf(&job, "memory", leaves);
        }
    }
}

#[test]
fn two_hundred_frames_are_two_hundred_frames() {
    let machine = begin!();
    let mut chain = vec!["write_pages"];
    chain.extend(["recurse"; 200]);
    chain.push("main");
    for job in jobs(&machine, "stacks_calls", &["recursion", "200"]) {
        expect_chain(&job, "memory", &chain);
    }
}

#[test]
fn three_hundred_frames_are_cut_and_say_so() {
    let machine = begin!();
    let mut innermost = vec!["write_pages"];
    innermost.extend(["recurse"; 254]);
    for job in jobs(&machine, "stacks_calls", &["recursion", "300"]) {
        for stack in stacks(&job, "memory") {
            assert!(!stack.complete, "{stack:#?}");
            assert_eq!(own(stack), innermost);
            let last = stack.frames.last().map(|frame| frame.module.as_str());
            assert_eq!(last, Some("[incomplete: too many frames]"));
        }
        let unwind = &job.report().coverage.unwind;
        let pages = job.pages("memory", "recursion");
        let truncated = unwind.reasons.get("truncated").copied().unwrap_or_default();
        assert!(truncated >= pages, "{unwind:?}");
    }
}

#[test]
fn a_callback_of_qsort_has_both_its_sides() {
    let machine = begin!();
    for job in jobs(&machine, "stacks_calls", &["qsort"]) {
        expect_chain(&job, "memory", &["compare", "call_qsort", "main"]);
    }
}

#[test]
fn frames_of_unknown_size_and_of_great_alignment_are_passed() {
    let machine = begin!();
    for (how, caller) in [
        ("alloca", "call_with_alloca"),
        ("aligned", "call_aligned"),
        ("aligned-alloca", "call_aligned_with_alloca"),
    ] {
        for job in jobs(&machine, "stacks_calls", &[how]) {
            expect_chain(&job, "memory", &["write_pages", caller, "main"]);
        }
    }
}

#[test]
fn a_function_that_jumped_away_is_not_invented() {
    let machine = begin!();
    for job in jobs(&machine, "stacks_calls", &["jump"]) {
        expect_chain(&job, "memory", &["write_pages", "call_jump", "main"]);
    }
}

#[test]
fn faults_in_a_system_call_have_the_callers_of_the_call() {
    let machine = begin!();
    for job in jobs(&machine, "stacks_calls", &["read"]) {
        expect_chain(&job, "memory", &["call_read", "main"]);
        let names = ["read", "__read", "__GI___read", "__libc_read", "__GI___libc_read"];
        expect_leaf(&job, "memory", &names);
    }
}

#[test]
fn a_static_position_independent_binary_is_walked() {
    let machine = begin!();
    let binary = workload::build_with("stacks_calls", &[&BARE[..], &["-static-pie"]].concat());
    for (how, chain) in [
        ("memset", &["call_memset", "main"][..]),
        ("qsort", &["compare", "call_qsort", "main"]),
        ("aligned-alloca", &["write_pages", "call_aligned_with_alloca", "main"]),
    ] {
        for job in jobs_of(&machine, &binary, &[how]) {
            expect_chain(&job, "memory", chain);
        }
    }
}

const FAULTED: [&str; 5] = ["write_pages", "handle", "store", "interrupted", "main"];
const RAISED: [&str; 4] = ["write_pages", "handle", "call_raise", "main"];

#[test]
fn a_signal_handler_stands_on_what_it_interrupted() {
    let machine = begin!();
    for (how, chain) in [("fault", &FAULTED[..]), ("raise", &RAISED)] {
        for job in jobs(&machine, "stacks_signals", &[how, "own"]) {
            expect_chain(&job, "memory", chain);
        }
    }
}

#[test]
fn a_signal_handler_on_a_stack_of_its_own_leads_back_to_the_other() {
    let machine = begin!();
    for (how, chain) in [("fault", &FAULTED[..]), ("raise", &RAISED)] {
        let [at_once, settled] = jobs(&machine, "stacks_signals", &[how, "alternate"]);
        expect_chain(&settled, "memory", chain);
        // The copy of a stack for a walk afterwards holds what lies above the stack pointer: the
        // handler's stack, and not the one that it leads back to.
        expect_beginning(&at_once, "memory", chain, 2);
    }
}

#[test]
fn a_thread_ends_at_its_start() {
    let machine = begin!();
    for job in jobs(&machine, "stacks_threads", &[]) {
        expect_chain(&job, "thread", &["write_pages", "thread_work"]);
        let started = stacks(&job, "thread").iter().all(|stack| {
            let mut names = stack.frames.iter().filter_map(|frame| frame.function.as_deref());
            names.any(|name| name == "start_thread")
        });
        assert!(started || !libc_has_names(), "{}", job.show("thread"));
    }
}

#[test]
fn a_context_of_its_own_has_its_functions() {
    let machine = begin!();
    for job in jobs(&machine, "stacks_threads", &[]) {
        // glibc's makecontext(3) writes the address of __start_context itself as the return
        // address, by which the end is known.
        expect_chain(&job, "context", &["write_pages", "context_work"]);
    }
}

#[test]
fn cleanups_and_handlers_of_exceptions_have_their_callers() {
    let machine = begin!();
    for job in jobs(&machine, "stacks_exceptions", &[]) {
        let chain = ["write_pages", "Guard::~Guard()", "with_cleanup", "catches", "main"];
        expect_chain(&job, "cleanup", &chain);
        expect_chain(&job, "handler", &["write_pages", "catches", "main"]);
    }
}

#[test]
fn code_that_was_just_loaded_is_walked() {
    let machine = begin!();
    let flags = [&BARE[..], &LIBRARY].concat();
    let library = workload::build_with("stacks_library", &flags);
    for job in jobs(&machine, "stacks_dlopen", &[library.to_str().unwrap()]) {
        let chain = ["library_write", "library_entry", "call_library", "main"];
        expect_chain(&job, "memory", &chain);
    }
}

/// Runs the command, which must end well with nothing lost. Returns how many faults it had in all,
/// and those by how the walks of their stacks ended.
fn walks(machine: &Machine, argv: &[&str]) -> (u64, BTreeMap<String, u64>) {
    let traced = trace(machine.scratch(), argv);
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    facts::assert_sound(&traced.report);
    facts::assert_nothing_lost(&traced.report);
    let unwind = traced.report.coverage.unwind;
    assert_eq!(unwind.reasons.values().sum::<u64>(), unwind.incomplete, "{unwind:?}");
    let mut ends = unwind.reasons;
    ends.insert("complete".to_owned(), unwind.complete);
    (unwind.complete + unwind.incomplete, ends)
}

/// Checks that at least so many of the faults, in percent, have stacks that ended so, in one of
/// three runs: first stacks are finished in user space, from copies for which there is no room
/// while user space does not keep up with a busy machine.
fn expect_share(machine: &Machine, argv: &[&str], shares: &[(&[&str], u64)]) {
    let failures: Vec<String> = (0..3)
        .map_while(|_| {
            let (all, ends) = walks(machine, argv);
            shares.iter().find_map(|(of, percent)| {
                let sum: u64 = of.iter().filter_map(|end| ends.get(*end)).sum();
                let short = sum * 100 < all * percent;
                short.then(|| format!("{of:?}: {sum} of {all}, not {percent} %: {ends:?}"))
            })
        })
        .collect();
    assert!(failures.len() < 3, "{failures:#?}");
}

#[test]
fn the_stacks_of_python_are_walked() {
    let machine = begin!();
    if !has_program("python3") {
        return machine.skip("no python3 here");
    }
    // The interpreter itself: `python3` on the PATH may be a script that chooses one.
    let itself = run(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]));
    let python = itself.out();
    let program = "lists = [list(range(n)) for n in range(1500)]; print(sum(map(len, lists)))";
    let argv = [python.trim(), "-c", program];
    expect_share(&machine, &argv, &[(&["complete"], 99)]);
}

#[test]
fn the_stacks_of_a_c_compiler_are_walked() {
    let machine = begin!();
    let (source, object) = (machine.scratch().join("a.c"), machine.scratch().join("a.o"));
    let text = "#include <stdio.h>\n#include <stdlib.h>\nint f(int n)\n{\n    int sum = 0;\n    \
                for (int i = 0; i < n; i++)\n        sum += printf(\"%d\", i);\n    return sum;\n}\n";
    std::fs::write(&source, text).unwrap();
    let argv = ["cc", "-O2", "-c", source.to_str().unwrap(), "-o", object.to_str().unwrap()];
    expect_share(&machine, &argv, &[(&["complete"], 99)]);
}

#[test]
fn an_image_that_replaces_itself_at_once_has_whole_stacks() {
    let machine = begin!();
    // rmap has no moment in which it could look which libraries an `env` has loaded: it is gone
    // with the exec. They are those that its headers name.
    let argv = ["env", "env", "env", "true"];
    expect_share(&machine, &argv, &[(&["complete"], 98)]);
}

#[test]
fn a_stack_of_a_program_that_has_gone_is_whole_or_says_that_it_is_not() {
    let machine = begin!();
    // Not at random places, so that the next program's code lies where the first one's did.
    let flags = [&BARE[..], &["-fno-pie", "-no-pie"]].concat();
    let first = workload::build_with("exec_away", &flags);
    let next = workload::build_with("article", &flags);
    for round in 0..8 {
        let traced = trace(machine.scratch(), [first.as_os_str(), next.as_os_str()]);
        let gone = traced.report.processes[0].gone.iter();
        let mut touched = 0;
        for path in gone.filter(|path| path.cause.as_str() == "first-write") {
            let Some(stack) = path.stack else { continue };
            let stack = &traced.report.stacks[stack.0 as usize];
            let names: Vec<_> = stack.frames.iter().filter_map(|f| f.function.as_deref()).collect();
            if names.first() != Some(&"writes_and_goes") {
                continue;
            }
            touched += path.touched_bytes;
            assert_eq!(names.get(1), Some(&"main"), "round {round}: {names:?}");
            // Above main there is the C library's start.
            assert!(!stack.complete || stack.frames.len() > 2, "round {round}: {names:?}");
        }
        assert_eq!(touched, 64 * PAGE, "round {round}");
    }
}
