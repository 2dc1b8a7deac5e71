//! Who holds malloc's blocks (`--malloc`), for programs whose truth is known.

use std::path::Path;
use std::process::Command;

use rmap::report::MallocState;
use rmap_tests::begin;
use rmap_tests::held::{assert_near, held_by, malloc};
use rmap_tests::process::{Running, run};
use rmap_tests::rmap::{Traced, finish, reports, rmap};
use rmap_tests::workload::{LIBRARY, build, build_with};

/// Runs a program under rmap with one byte in `mean` picked.
fn sampled<'a>(
    dir: &Path,
    mean: &str,
    program: &Path,
    args: impl IntoIterator<Item = &'a str>,
) -> Traced {
    let mut command = reports(dir, "run");
    command.arg(format!("--malloc={mean}")).arg("--").arg(program).args(args);
    let traced = finish(dir, Running::start(&mut command, None));
    assert_eq!(traced.ended.code(), 0, "{}", traced.ended.err());
    traced
}

#[test]
fn a_leak_is_named_and_who_frees_holds_nothing() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "4K", &build("malloc_held"), ["leak"]);
    let (report, process) = (&traced.report, &traced.report.processes[0]);
    let found = malloc(process);
    assert_near(held_by(report, process, "on_login"), 400 * 40 * 2000);
    assert_eq!(held_by(report, process, "on_query"), 0);
    let [low, high] = found.ci95;
    assert!(low <= found.live_bytes && found.live_bytes <= high);
    assert_near(found.live_count, 16_000);
    assert_eq!((found.unkept, found.unseen_ends), (0, 0));
    let advice = traced.table.contains("on_login");
    assert!(advice, "{}", traced.table);
    // The stack begins with the allocator's function and reaches the outermost frame.
    let stack = report.stacks.iter().find(|stack| Some(stack.id) == found.paths[0].stack).unwrap();
    let names: Vec<_> = stack.frames.iter().filter_map(|f| f.function.as_deref()).take(4).collect();
    assert_eq!(names, ["malloc", "on_login", "leak", "main"]);
    assert!(stack.complete);
}

#[test]
fn the_first_screen_names_the_leak_and_flames_are_of_it() {
    let machine = begin!();
    let recording = machine.scratch().join("leak.rmap");
    let mut command = rmap(["run", "--malloc=64K", "--record"]);
    command.arg(&recording).arg("--").arg(build("malloc_held")).args(["leak", "10000"]);
    let ended = run(&mut command);
    assert_eq!(ended.code(), 0, "{}", ended.err());
    let screen = ended.err();
    let section = screen.split("Who holds malloc's blocks").nth(1).unwrap_or_default();
    let first = section.lines().nth(1).unwrap_or_default();
    assert!(first.contains("on_login"), "{screen}");
    assert!(screen.contains("growing: on_login holds"), "{screen}");
    assert!(!screen.contains("growing: on_query"), "{screen}");
    let folded = run(rmap(["export", "-f", "folded", "--of", "live"]).arg(&recording));
    assert!(folded.out().contains(";main;leak;on_login;malloc;[live] "), "{}", folded.out());
    let flame = run(rmap(["flame", "--of", "live"]).arg(&recording));
    assert!(flame.out().contains("on_login"), "{}", flame.err());
}

#[test]
fn blocks_of_threads_are_followed_to_whoever_frees_them() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "2K", &build("malloc_held"), ["threads"]);
    let process = &traced.report.processes[0];
    assert_near(held_by(&traced.report, process, "in_thread"), 4 * 8000 / 2 * 1000);
    assert_eq!(malloc(process).unseen_ends, 0);
}

#[test]
fn a_forked_child_has_its_parents_blocks_until_it_frees_them() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "1K", &build("malloc_held"), ["forks"]);
    let [parent, child] = &traced.report.processes[..] else { panic!("{}", traced.table) };
    let held = |process, function| held_by(&traced.report, process, function);
    assert_near(held(parent, "in_parent"), 16_000_000);
    assert_eq!(held(parent, "in_child"), 0);
    assert_eq!(held(child, "in_parent"), 0);
    assert_near(held(child, "in_child"), 8_000_000);
}

#[test]
fn every_way_of_allocating_counts_what_is_left() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "2K", &build("malloc_held"), ["ways"]);
    let process = &traced.report.processes[0];
    for function in
        ["by_realloc", "by_large_realloc", "by_calloc", "by_alignment", "by_failed_realloc"]
    {
        let found = held_by(&traced.report, process, function);
        assert!(found.abs_diff(16_000_000) * 20 <= 16_000_000, "{function}: {found}");
    }
    assert_eq!(held_by(&traced.report, process, "by_realloc_to_nothing"), 0);
}

#[test]
fn a_programs_own_preloaded_libraries_stay() {
    let machine = begin!();
    let library = build_with("malloc_own_library", &LIBRARY);
    let mut command = reports(machine.scratch(), "run");
    command.arg("--malloc").arg("--").arg(build("malloc_held")).arg("preload");
    command.env("LD_PRELOAD", &library);
    // rmap itself, and what it starts, write that line too.
    let traced = finish(machine.scratch(), Running::start(&mut command, None));
    let out = traced.ended.out();
    let shown = out.lines().last().unwrap();
    let (ours, own) = shown.split_once(':').unwrap();
    assert!(ours.ends_with("/librmap-malloc.so"), "{out}");
    assert_eq!(own, library.to_str().unwrap());
    assert!(out.contains("preloaded"), "{out}");
    assert!(!Path::new(ours).parent().unwrap().exists(), "{ours} is still there");
}

#[test]
fn what_cannot_be_sampled_is_said() {
    let machine = begin!();
    let program = build_with("malloc_held", &["-static"]);
    let mut command = rmap(["run", "--malloc", "--json"]);
    command.arg(machine.scratch().join("static.json")).arg("--").arg(&program).arg("leak");
    let ended = run(&mut command);
    assert_eq!(ended.code(), 0, "{}", ended.err());
    assert!(ended.err().contains("1 process without the sampling library"), "{}", ended.err());
}

#[test]
fn a_shell_and_its_children_are_sampled_each() {
    let machine = begin!();
    let program = build("malloc_held");
    let script = format!("{} leak; true", program.display());
    let traced = sampled(machine.scratch(), "8K", Path::new("/bin/sh"), ["-c", &script]);
    let leaks =
        traced.report.processes.iter().filter(|process| process.exe.contains("malloc_held"));
    let leaks: Vec<_> = leaks.collect();
    assert_eq!(leaks.len(), 1, "{}", traced.table);
    assert_eq!(malloc(leaks[0]).state, MallocState::Sampled);
    assert_near(held_by(&traced.report, leaks[0], "on_login"), 32_000_000);
}

#[test]
fn small_blocks_cost_little() {
    let machine = begin!();
    let _ = machine.scratch();
    let nanoseconds = |sampled: bool| -> u64 {
        let mut command = rmap(["run", "-o", "/dev/null"]);
        command.args(sampled.then_some("--malloc"));
        command.arg("--").arg(build("malloc_held")).args(["loop", "5000000"]);
        run(&mut command).out().trim().parse().unwrap()
    };
    let least = |sampled| (0..3).map(|_| nanoseconds(sampled)).min().unwrap();
    let (without, with) = (least(false), least(true));
    assert!(with <= without * 2, "{with} ns with sampling, {without} ns without");
}

#[test]
fn python_functions_hold_what_they_keep() {
    let machine = begin!();
    if run(Command::new("python3").arg("--version")).code() != 0 {
        return;
    }
    let script = "def keep(all):\n for _ in range(40): all.append(bytearray(1 << 20))\n\
                  def drop():\n for _ in range(40): bytearray(1 << 20)\n\
                  all = []\nkeep(all)\ndrop()\nimport os\nos._exit(0)\n";
    let traced = sampled(machine.scratch(), "16K", Path::new("python3"), ["-c", script]);
    let process = &traced.report.processes[0];
    assert_near(held_by(&traced.report, process, "keep"), 40 << 20);
    assert_eq!(held_by(&traced.report, process, "drop"), 0);
}
