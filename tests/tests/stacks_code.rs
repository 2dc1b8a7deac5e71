//! Stacks that lead through code of all kinds: the kernel's own in user space, what binds a first
//! call, what only `.debug_frame` describes, a C library that nothing describes, trampolines made
//! at run time, and files that nobody finds by their path any more. Code without frame pointers
//! throughout.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::path::Path;

use ::rmap::report::Stack;
use rmap_tests::begin;
use rmap_tests::chain::{expect_chain, jobs, jobs_of, stacks};
use rmap_tests::process::has_program;
use rmap_tests::workload::{self, BARE, DEBUG_FRAME, LIBRARY, MUSL};

/// The place among the frames of the first in this module.
fn place_of(stack: &Stack, module: &str) -> Option<usize> {
    stack.frames.iter().position(|frame| frame.module == module)
}

#[test]
fn the_vdso_itself_takes_faults_and_has_callers() {
    let machine = begin!();
    for job in jobs(&machine, "stacks_vdso", &["call"]) {
        expect_chain(&job, "memory", &["call_vdso", "main"]);
        for stack in stacks(&job, "memory") {
            assert_eq!(place_of(stack, "[vdso]"), Some(0), "{stack:#?}");
            let name = stack.frames[0].function.as_deref();
            assert!(name.is_some_and(|name| name.contains("clock_gettime")), "{stack:#?}");
        }
    }
}

#[test]
fn a_signal_in_the_vdso_leads_through_it() {
    let machine = begin!();
    for job in jobs(&machine, "stacks_vdso", &["signal"]) {
        expect_chain(&job, "memory", &["write_pages", "handle", "call_vdso", "main"]);
        for stack in stacks(&job, "memory") {
            let place = |function: &str| {
                stack.frames.iter().position(|f| f.function.as_deref() == Some(function))
            };
            let vdso = place_of(stack, "[vdso]");
            assert!(vdso > place("handle") && vdso < place("call_vdso"), "{stack:#?}");
        }
    }
}

#[test]
fn the_first_call_through_the_plt_has_its_caller() {
    let machine = begin!();
    for job in jobs_of(&machine, &workload::build_lazy(), &[]) {
        let chain = ["write_lazily", "choose", "call_lazily", "main"];
        expect_chain(&job, "memory", &chain);
        // The dynamic linker, which binds the call, stands between.
        for stack in stacks(&job, "memory") {
            let linker = |module: &str| module.rsplit('/').next().unwrap().starts_with("ld-linux");
            let linkers = stack.frames.iter().filter(|frame| linker(&frame.module));
            assert!(linkers.count() >= 2, "{stack:#?}");
        }
    }
}

#[test]
fn code_that_only_debug_frame_describes_is_walked() {
    let machine = begin!();
    let binary = workload::build_with("stacks_calls", &[&BARE[..], &DEBUG_FRAME].concat());
    for (how, chain) in [
        ("memset", &["call_memset", "main"][..]),
        ("qsort", &["compare", "call_qsort", "main"]),
        ("alloca", &["write_pages", "call_with_alloca", "main"]),
        ("aligned-alloca", &["write_pages", "call_aligned_with_alloca", "main"]),
    ] {
        for job in jobs_of(&machine, &binary, &[how]) {
            expect_chain(&job, "memory", chain);
        }
    }
}

#[test]
fn a_program_with_musl_has_its_callers() {
    let machine = begin!();
    if !has_program(MUSL) {
        return machine.skip("no musl-gcc here");
    }
    for kind in [&["-static"][..], &[]] {
        let flags = [&BARE[..], kind].concat();
        let binary = workload::build_by(Some(MUSL), "stacks_calls", &flags);
        for (how, chain) in [
            ("memset", &["call_memset", "main"][..]),
            ("memcpy", &["call_memcpy", "main"]),
            ("read", &["call_read", "main"]),
            ("qsort", &["compare", "call_qsort", "main"]),
        ] {
            for job in jobs_of(&machine, &binary, &[how]) {
                expect_chain(&job, "memory", chain);
            }
        }
    }
}

#[test]
fn a_trampoline_made_at_run_time_has_its_caller_for_sure() {
    let machine = begin!();
    let binary = workload::build_with("stacks_trampoline", &BARE);
    let job = machine.job_of(&binary, &["settled"]);
    let chain = ["write_pages", "evaluate", "evaluate", "evaluate", "evaluate", "main"];
    expect_chain(&job, "memory", &chain);
    for stack in stacks(&job, "memory") {
        let made = stack.frames.iter().filter(|frame| frame.module == "[anon]");
        assert_eq!(made.count(), 3, "{stack:#?}");
    }
}

/// Nothing of this waits for user space: rmap is stopped while the program makes code and runs it, and
/// most often before it has read where the program's libraries lie.
#[test]
fn code_made_a_moment_ago_has_its_callers_though_rmap_stands_still() {
    let machine = begin!();
    let binary = workload::build_with("stacks_made", &BARE);
    let job = machine.job_of(&binary, &[]);
    expect_chain(&job, "memory", &["write_pages", "call_made", "main"]);
    for stack in stacks(&job, "memory") {
        assert_eq!(place_of(stack, "[anon]"), Some(1), "{stack:#?}");
    }
}

/// Processes that were forked from one share its list of code until they map more of their own: what the
/// kernel side finds out of one of them says nothing of another.
#[test]
fn code_that_two_children_load_at_one_address_is_each_ones_own() {
    let machine = begin!();
    let library = |room: &str| {
        workload::build_with("stacks_twin_library", &[&BARE[..], &LIBRARY, &[room]].concat())
    };
    let [first, second] = ["-DROOM=24", "-DROOM=4000"].map(library);
    let paths = [first, second].map(|path| path.to_str().unwrap().to_owned());
    let job = machine.job("stacks_twins", &[&paths[0], &paths[1]]);
    if let Some(reason) = &job.truth.skip {
        return machine.skip(reason);
    }
    for region in ["first", "second"] {
        expect_chain(&job, region, &["write_pages", "twin_entry", "call_twin", "child", "main"]);
    }
}

/// The workload twice, as copies of its own, which it may do away with.
fn expect_code_of_files(how: &str) {
    let machine = begin!();
    let library = workload::build_with("stacks_library", &[&BARE[..], &LIBRARY].concat());
    let program = workload::build_with("stacks_files", &BARE);
    let copies = machine.scratch().join("copies");
    for settled in [&[][..], &["settled"]] {
        std::fs::create_dir(&copies).unwrap();
        let copy = |from: &Path, name: &str| {
            let to = copies.join(name);
            std::fs::copy(from, &to).unwrap();
            to
        };
        let (library, program) = (copy(&library, "library.so"), copy(&program, "program"));
        let args = [&[how, library.to_str().unwrap()], settled].concat();
        let job = machine.job_of(&program, &args);
        let chain = ["library_write", "library_entry", "call_library", "main"];
        expect_chain(&job, "memory", &chain);
        std::fs::remove_dir_all(&copies).unwrap();
    }
}

#[test]
fn code_of_deleted_files_is_walked() {
    expect_code_of_files("deleted");
}

#[test]
fn code_of_replaced_files_is_walked() {
    expect_code_of_files("replaced");
}

#[test]
fn code_of_files_in_memory_is_walked() {
    expect_code_of_files("memfd");
}

#[test]
fn code_of_files_in_another_mount_namespace_is_walked() {
    expect_code_of_files("namespace");
}
