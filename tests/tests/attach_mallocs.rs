//! Who holds malloc's blocks in processes that ran already (`rmap attach --malloc`), for programs whose
//! truth is known.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

use std::io::{PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use rmap::report::MallocState;
use rmap_tests::attach::{assert_free, await_attached, rmap_attach};
use rmap_tests::begin;
use rmap_tests::facts;
use rmap_tests::held::{assert_near, functions, held_by, malloc, stack};
use rmap_tests::process::{Running, eventually, has_program, run};
use rmap_tests::rmap::{Traced, finish, reports, rmap};
use rmap_tests::workload::{MUSL, build, build_with};

/// A program that waits before it allocates, and before it ends.
struct Waiting {
    running: Running,
    input: PipeWriter,
}

impl Waiting {
    /// Starts it, up to its first wait.
    fn start(command: &mut Command) -> Self {
        let (running, input) = Running::start_piped(command.env("MALLOC_HELD_WAITS", "1"));
        let waiting = Self { running, input };
        waiting.said("ready");
        waiting
    }

    fn said(&self, word: &str) {
        eventually(word, || {
            String::from_utf8_lossy(&self.running.out_so_far()).contains(word).then_some(())
        });
    }

    /// Lets it allocate.
    fn allocate(&mut self) {
        self.input.write_all(b"\n").unwrap();
        self.said("done");
    }

    /// Lets it end, and checks that nothing went wrong in it.
    fn end(mut self) {
        self.input.write_all(b"\n").unwrap();
        let ended = self.running.wait();
        assert_eq!((ended.code(), ended.err().as_str()), (0, ""));
    }
}

fn held(way: &str) -> Command {
    held_of(&build("malloc_held"), way)
}

fn held_of(program: &Path, way: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(way);
    command
}

/// Attaches to processes with one byte in `mean` picked.
fn attached(dir: &Path, mean: &str, pids: &[u32]) -> Running {
    let mut command = rmap_attach(dir, pids);
    command.arg(format!("--malloc={mean}"));
    let rmap = Running::start(&mut command, None);
    await_attached(&rmap);
    rmap
}

/// Ends rmap while the process goes on.
fn let_go(dir: &Path, rmap: Running) -> Traced {
    rmap.signal(Signal::SIGINT);
    ended(dir, rmap)
}

fn ended(dir: &Path, rmap: Running) -> Traced {
    let traced = finish(dir, rmap);
    let said = traced.ended.err();
    assert_eq!(traced.ended.code(), 0, "{said}");
    // What it costs is the only thing that it says.
    assert!(said.contains("each call of malloc takes about"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    facts::assert_sound(&traced.report);
    facts::assert_nothing_lost(&traced.report);
    traced
}

/// What a program in `way` holds, attached to while it waits.
fn sampled(dir: &Path, mean: &str, command: &mut Command) -> Traced {
    let mut program = Waiting::start(command);
    let rmap = attached(dir, mean, &[program.running.pid()]);
    program.allocate();
    let traced = let_go(dir, rmap);
    program.end();
    traced
}

#[test]
fn a_leak_is_named_and_what_was_there_before_is_not_counted() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "4K", &mut held("leak"));
    let (report, process) = (&traced.report, &traced.report.processes[0]);
    let found = malloc(process);
    assert_near(held_by(report, process, "on_login"), 400 * 40 * 2000);
    assert_eq!(held_by(report, process, "on_query"), 0);
    assert_eq!(held_by(report, process, "before"), 0);
    assert!(found.since_attach);
    assert_eq!((found.state, found.unkept, found.unseen_ends), (MallocState::Sampled, 0, 0));
    let [low, high] = found.ci95;
    assert!(low <= found.live_bytes && found.live_bytes <= high);
    assert_near(found.live_count, 16_000);
    let says = traced.table.contains("What was allocated before rmap attached is not known");
    assert!(says && traced.table.contains("on_login"), "{}", traced.table);
}

#[test]
fn the_case_of_a_leaking_daemon_is_named_within_five_percent() {
    let machine = begin!();
    // Some 10 ms for each of 400 turns.
    let mut command = held("leak");
    let mut program = Waiting::start(command.arg("5000"));
    let mut rmap = rmap(["attach", "--malloc=8K", "-p"]);
    rmap.arg(program.running.pid().to_string());
    rmap.arg("--record").arg(machine.scratch().join("recording"));
    let rmap = Running::start(&mut rmap, None);
    await_attached(&rmap);
    program.allocate();
    rmap.signal(Signal::SIGINT);
    let ended = rmap.wait();
    program.end();
    let screen = ended.out();
    let section = screen.split("Who holds malloc's blocks").nth(1).unwrap_or_default();
    let first = section.lines().nth(1).unwrap_or_default();
    assert!(first.contains("on_login"), "{screen}");
    assert!(screen.contains("growing: on_login holds"), "{screen}");
    let flame = run(self::rmap(["flame", "--of", "live"]).arg(machine.scratch().join("recording")));
    assert!(flame.out().contains("on_login"), "{}", flame.err());
}

#[test]
fn stacks_are_those_of_run() {
    let machine = begin!();
    let ways = ["by_realloc", "by_calloc", "by_alignment", "by_large_realloc"];
    let paths = |traced: &Traced| {
        let process = &traced.report.processes[0];
        let mut paths: Vec<Vec<String>> = Vec::new();
        for path in &malloc(process).paths {
            let of = stack(&traced.report, path.stack.unwrap());
            assert!(of.complete, "{:?}", functions(of));
            // The allocator's own function has several names.
            let names = functions(of).into_iter().skip(1).map(str::to_owned);
            let names: Vec<String> = names.collect();
            if names.iter().any(|name| ways.contains(&name.as_str())) {
                paths.push(names);
            }
        }
        paths.sort();
        paths.dedup();
        paths
    };
    let by_attach = sampled(machine.scratch(), "512", &mut held("ways"));
    let mut command = reports(machine.scratch(), "run");
    command.args(["--malloc=512", "--"]).arg(build("malloc_held")).arg("ways");
    let by_run = finish(machine.scratch(), Running::start(&mut command, None));
    let (by_attach, by_run) = (paths(&by_attach), paths(&by_run));
    assert!(by_run.iter().any(|path| path[..3] == ["by_calloc", "ways", "main"]));
    assert_eq!(by_attach, by_run);
}

#[test]
fn faults_inside_the_allocator_have_whole_stacks_while_it_returns_to_the_kernel() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "512K", &mut held("ways"));
    let (report, process) = (&traced.report, &traced.report.processes[0]);
    // `realloc` copies to memory that it has just mapped, and faults there.
    let paths = process.segments.iter().flat_map(|segment| &segment.paths);
    let within: Vec<_> = paths
        .filter_map(|path| Some(stack(report, path.stack?)))
        .filter(|stack| functions(stack).iter().any(|name| name.contains("realloc")))
        .collect();
    assert!(!within.is_empty(), "{}", traced.table);
    for stack in within {
        let names = functions(stack);
        assert!(stack.complete && names.contains(&"main"), "{names:?}");
    }
}

#[test]
fn every_way_of_allocating_counts_what_is_left() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "2K", &mut held("ways"));
    let process = &traced.report.processes[0];
    for function in
        ["by_realloc", "by_large_realloc", "by_calloc", "by_alignment", "by_failed_realloc"]
    {
        let found = held_by(&traced.report, process, function);
        assert!(found.abs_diff(16_000_000) * 20 <= 16_000_000, "{function}: {found}");
    }
    assert_eq!(held_by(&traced.report, process, "by_realloc_to_nothing"), 0);
    assert_eq!(malloc(process).unseen_ends, 0);
}

#[test]
fn blocks_of_threads_are_followed_to_whoever_frees_them() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "2K", &mut held("threads"));
    let process = &traced.report.processes[0];
    assert_near(held_by(&traced.report, process, "in_thread"), 4 * 8000 / 2 * 1000);
    assert_eq!(malloc(process).unseen_ends, 0);
}

#[test]
fn a_forked_child_has_its_parents_blocks_until_it_frees_them() {
    let machine = begin!();
    let traced = sampled(machine.scratch(), "1K", &mut held("forks"));
    let [parent, child] = &traced.report.processes[..] else { panic!("{}", traced.table) };
    let held = |process, function| held_by(&traced.report, process, function);
    assert_near(held(parent, "in_parent"), 16_000_000);
    assert_eq!(held(parent, "in_child"), 0);
    assert_eq!(held(child, "in_parent"), 0);
    assert_near(held(child, "in_child"), 8_000_000);
}

#[test]
fn a_program_that_a_watched_shell_starts_is_sampled_from_its_first_block() {
    let machine = begin!();
    let mut command = Command::new("/bin/sh");
    let script =
        format!("echo ready; read x; {} leak; echo done; read x", build("malloc_held").display());
    command.args(["-c", &script]);
    let (running, input) = Running::start_piped(&mut command);
    let mut shell = Waiting { running, input };
    shell.said("ready");
    let rmap = attached(machine.scratch(), "8K", &[shell.running.pid()]);
    shell.allocate();
    let traced = let_go(machine.scratch(), rmap);
    shell.end();
    let program = traced.report.processes.iter().find(|one| one.exe.contains("malloc_held"));
    let program = program.unwrap_or_else(|| panic!("{}", traced.table));
    assert_near(held_by(&traced.report, program, "on_login"), 32_000_000);
    assert!(!malloc(program).since_attach, "it was watched from its beginning");
}

#[test]
fn several_processes_are_sampled_each() {
    let machine = begin!();
    let mut programs = ["leak", "threads"].map(|way| Waiting::start(&mut held(way)));
    let pids = [0, 1].map(|at| programs[at].running.pid());
    let rmap = attached(machine.scratch(), "4K", &pids);
    programs.iter_mut().for_each(Waiting::allocate);
    let traced = let_go(machine.scratch(), rmap);
    programs.into_iter().for_each(Waiting::end);
    let [leak, threads] = &traced.report.processes[..] else { panic!("{}", traced.table) };
    assert_near(held_by(&traced.report, leak, "on_login"), 32_000_000);
    assert_near(held_by(&traced.report, threads, "in_thread"), 16_000_000);
}

#[test]
fn a_tree_is_sampled_with_the_children_that_ran_already() {
    let machine = begin!();
    let script = format!("{} leak; true", build("malloc_held").display());
    let mut command = Command::new("/bin/sh");
    let mut shell = Waiting::start(command.args(["-c", &script]));
    let mut rmap = reports(machine.scratch(), "attach");
    rmap.arg("--malloc=4K").arg("--tree").arg(shell.running.pid().to_string());
    let rmap = Running::start(&mut rmap, None);
    await_attached(&rmap);
    shell.allocate();
    let traced = let_go(machine.scratch(), rmap);
    shell.end();
    let program = traced.report.processes.iter().find(|one| one.exe.contains("malloc_held"));
    assert_near(held_by(&traced.report, program.unwrap(), "on_login"), 32_000_000);
}

#[test]
fn a_process_without_functions_that_are_known_is_said_not_to_be_sampled() {
    let machine = begin!();
    let program = build_with("malloc_held", &["-static", "-s"]);
    let traced = sampled(machine.scratch(), "4K", &mut held_of(&program, "loop"));
    assert!(traced.report.processes[0].malloc.is_none());
    let said = "Not sampled: 1 process of which no function of an allocator is known";
    assert!(traced.table.contains(said), "{}", traced.table);
    assert!(noted(&traced, "has no function of an allocator that is known by name"));
}

#[test]
fn an_allocator_that_is_loaded_later_is_said_not_to_be_watched() {
    let machine = begin!();
    if !has_program("python3") {
        return machine.skip("no python3 here");
    }
    // Its functions do nothing; what counts is their names.
    let library = machine.scratch().join("late.so");
    let source = machine.scratch().join("late.c");
    let code = "void *je_malloc(long size) { return (void *)size; }";
    std::fs::write(&source, code).unwrap();
    let built = run(Command::new("cc").args(["-shared", "-o"]).args([&library, &source]));
    assert_eq!(built.code(), 0, "{}", built.err());
    let script = format!(
        "import ctypes\nprint('ready', flush=True)\ninput()\nctypes.CDLL('{}')\n\
         print('done', flush=True)\ninput()\n",
        library.display()
    );
    let mut command = Command::new("python3");
    let traced = sampled(machine.scratch(), "512K", command.args(["-c", &script]));
    assert!(noted(&traced, "late.so, an allocator, since rmap attached to it"));
}

/// Whether the report says so beside its probes.
fn noted(traced: &Traced, why: &str) -> bool {
    let rows = traced.report.coverage.probes.iter().filter_map(|probe| probe.why_not.as_deref());
    rows.into_iter().any(|said| said.contains(why))
}

#[test]
fn a_statically_linked_program_is_sampled_by_its_own_symbols() {
    let machine = begin!();
    let program = build_with("malloc_held", &["-static"]);
    let traced = sampled(machine.scratch(), "4K", &mut held_of(&program, "leak"));
    let process = &traced.report.processes[0];
    assert_near(held_by(&traced.report, process, "on_login"), 32_000_000);
    assert_eq!(held_by(&traced.report, process, "on_query"), 0);
}

#[test]
fn a_program_of_musls_is_sampled() {
    let machine = begin!();
    if !has_program(MUSL) {
        return machine.skip("no musl-gcc here");
    }
    let program = PathBuf::from(machine.scratch()).join("held");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/malloc_held.c");
    let built = run(Command::new(MUSL).args(["-O1", "-g", "-o"]).arg(&program).arg(source));
    assert_eq!(built.code(), 0, "{}", built.err());
    let traced = sampled(machine.scratch(), "4K", &mut held_of(&program, "leak"));
    let process = &traced.report.processes[0];
    assert_near(held_by(&traced.report, process, "on_login"), 32_000_000);
    assert_eq!(held_by(&traced.report, process, "on_query"), 0);
}

#[test]
fn a_preloaded_jemalloc_is_sampled() {
    let machine = begin!();
    const JEMALLOC: &str = "libjemalloc.so.2";
    let mut probe = Command::new("true");
    if !run(probe.env("LD_PRELOAD", JEMALLOC)).err().is_empty() {
        return machine.skip("no libjemalloc.so.2 here");
    }
    for (way, function) in [("leak", "on_login"), ("threads", "in_thread")] {
        let traced = sampled(machine.scratch(), "4K", held(way).env("LD_PRELOAD", JEMALLOC));
        let process = &traced.report.processes[0];
        let truth = if way == "leak" { 32_000_000 } else { 16_000_000 };
        assert_near(held_by(&traced.report, process, function), truth);
        assert_eq!(held_by(&traced.report, process, "on_query"), 0);
        let first = malloc(process).paths[0].stack.unwrap();
        let names = functions(stack(&traced.report, first));
        assert!(names[0].contains("malloc") && names[1] == function, "{names:?}");
    }
}

#[test]
fn a_process_goes_on_well_when_rmap_is_killed() {
    let machine = begin!();
    let mut program = Waiting::start(&mut held("threads"));
    let pid = program.running.pid();
    let rmap = attached(machine.scratch(), "1K", &[pid]);
    rmap.signal(Signal::SIGKILL);
    assert_eq!(rmap.wait().code(), 128 + 9);
    assert_free(pid);
    program.allocate();
    program.end();
}

#[test]
fn nothing_stays_in_a_process_that_is_let_go() {
    let machine = begin!();
    let mut command = held("loop");
    let mut program = Waiting::start(command.arg("20000"));
    let code = || {
        let maps =
            std::fs::read_to_string(format!("/proc/{}/maps", program.running.pid())).unwrap();
        let line =
            maps.lines().find(|line| line.contains("libc") && line.contains("r-xp")).unwrap();
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
        let memory = std::fs::File::open(format!("/proc/{}/mem", program.running.pid())).unwrap();
        let mut bytes = vec![0; (end - start) as usize];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, start).unwrap();
        bytes
    };
    let before = code();
    let rmap = attached(machine.scratch(), "4K", &[program.running.pid()]);
    let changed = code().iter().zip(&before).filter(|(now, before)| now != before).count();
    assert!(changed >= 5, "breakpoints at {changed} places");
    let _ = let_go(machine.scratch(), rmap);
    eventually("the breakpoints are gone", || (code() == before).then_some(()));
    program.allocate();
    program.end();
}

#[test]
fn python_functions_hold_what_they_keep() {
    let machine = begin!();
    if !has_program("python3") {
        return machine.skip("no python3 here");
    }
    let script = "def keep(all):\n for _ in range(40): all.append(bytearray(1 << 20))\n\
                  def drop():\n for _ in range(40): bytearray(1 << 20)\n\
                  all = []\nprint('ready', flush=True)\ninput()\nkeep(all)\ndrop()\n\
                  print('done', flush=True)\ninput()\n";
    let mut command = Command::new("python3");
    let traced = sampled(machine.scratch(), "16K", command.args(["-c", script]));
    let process = &traced.report.processes[0];
    assert_near(held_by(&traced.report, process, "keep"), 40 << 20);
    assert_eq!(held_by(&traced.report, process, "drop"), 0);
}
