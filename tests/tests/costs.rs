//! What rmap itself takes: time and memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use rmap_peer::{Loops, Sample, Shape, Watcher, bpf};
use rmap_tests::begin;
use rmap_tests::job::PAGE;
use rmap_tests::machine::slow;
use rmap_tests::process::run;
use rmap_tests::rmap::{binary, trace};
use rmap_tests::workload::{self, BARE, WALKED};

const MIB: u64 = 1 << 20;

/// The one in the middle.
fn median<T: Copy + PartialOrd>(mut numbers: Vec<T>) -> T {
    numbers.sort_by(|a, b| a.partial_cmp(b).expect("no NaN among them"));
    numbers[numbers.len() / 2]
}

#[test]
fn a_run_of_true_takes_as_long_as_some_small_compilations() {
    let machine = begin!();
    if !binary().components().any(|part| part.as_os_str() == "release") {
        return machine.skip("the binary is no release build: its times mean nothing");
    }
    let source = machine.scratch().join("a.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    // In turns, so that other work on the machine slows both.
    let (traced, compiled): (Vec<_>, Vec<_>) = (0..5)
        .map(|_| {
            let traced = trace(machine.scratch(), ["true"]);
            assert_eq!(traced.ended.code(), 0);
            let mut compiler = Command::new("cc");
            compiler.arg("-c").arg(&source).arg("-o").arg(machine.scratch().join("a.o"));
            let compiled = run(&mut compiler);
            assert_eq!(compiled.code(), 0, "{}", compiled.err());
            (traced.ended.wall, compiled.wall)
        })
        .unzip();
    let (traced, compiled) = (median(traced), median(compiled));
    assert!(traced < 25 * compiled, "{traced:?} against {compiled:?}");
}

/// 64 MiB, and 16 bytes for every page that the command touched.
const fn limit(pages: u64) -> u64 {
    64 * MIB + 16 * pages
}

#[test]
fn rmaps_memory_for_true_is_bounded() {
    let machine = begin!();
    let traced = trace(machine.scratch(), ["true"]);
    let peak = traced.ended.peak_rss;
    assert!(peak > 0 && peak < limit(0), "rmap's peak: {peak} bytes");
}

#[test]
fn rmaps_memory_is_bounded_by_the_touched_pages() {
    let machine = begin!();
    // Eight threads, 32768 pages in interleaved order: the worst case for runs of pages.
    let job = machine.job("threads", &[]);
    let pages = job.truth.region("memory").rss / PAGE;
    let peak = job.traced.ended.peak_rss;
    assert!(peak > 0 && peak < limit(pages), "rmap's peak: {peak} bytes, {pages} pages touched");
}

#[test]
fn rmaps_memory_does_not_grow_with_what_was_freed() {
    let machine = begin!();
    // Half a million pages in all, never more than 16 MiB at once.
    let job = machine.job("rounds", &["4096", "128"]);
    let touched = job.truth.number("touched_pages");
    assert_eq!(touched, 524_288);
    let ended = &job.traced.ended;
    assert!(ended.peak_rss < limit(4096), "rmap's peak: {} bytes", ended.peak_rss);
}

/// How often each watches, in turns, so that other work on the machine falls on both.
const TURNS: usize = 7;

/// What a fault costs by the kernel's BPF statistics, in ns: all programs of rmap's together
/// (entry, counters, end with the stack, and handing the record over), and `bpf_get_stack` alone
/// on the same loop with frame pointers. Medians.
fn beside_the_peer(frames: u32, mode: &'static str) -> (f64, f64) {
    let loops = Loops {
        plain: workload::build_with("touch_again", &BARE),
        pointers: workload::build_with("touch_again", &WALKED),
    };
    // So few faults that the ring holds all their records: what is lost would cost nothing.
    let shape = Shape { frames, mode, pages: 4096, rounds: 16 };
    let statistics = bpf::enable_stats().expect("root may do this");
    let sample = |watcher| -> Sample {
        let sample = rmap_peer::run(&binary(), &loops, shape, watcher).expect("the loop runs");
        assert!(sample.faults >= 65_536, "{sample:?}");
        sample
    };
    let (ours, peer): (Vec<_>, Vec<_>) = (0..TURNS)
        .map(|_| {
            let (ours, peer) = (sample(Watcher::Rmap), sample(Watcher::GetStack));
            // Three programs at each fault, and one.
            assert!(ours.runs > 2.9 && peer.runs > 0.9, "{ours:?} {peer:?}");
            (ours.bpf(), peer.bpf())
        })
        .unzip();
    drop(statistics);
    let (ours, peer) = (median(ours), median(peer));
    println!("{frames} frames, {mode}: {ours:.0} ns a fault, bpf_get_stack {peer:.0} ns");
    (ours, peer)
}

#[test]
fn a_fault_costs_less_than_the_kernels_walk_by_frame_pointers() {
    let machine = begin!();
    if slow() > 1 {
        return machine.skip("processors are emulated: their costs are not those of real ones");
    }
    for frames in [8, 18, 34, 66] {
        let (ours, peer) = beside_the_peer(frames, "same");
        assert!(ours < peer, "{frames} frames: {ours:.0} ns against {peer:.0} ns");
    }
    // By another call path at each fault, so that each stack is walked.
    let (ours, peer) = beside_the_peer(66, "stacks");
    assert!(ours < peer, "66 changing frames: {ours:.0} ns against {peer:.0} ns");
}

/// A file of at least so many bytes of code, among libraries that machines with compilers have.
fn large_library(least: u64) -> Option<PathBuf> {
    let sysroot = run(Command::new("rustc").args(["--print", "sysroot"]));
    let own = Path::new(sysroot.out().trim()).join("lib");
    let places = [own, "/usr/lib/x86_64-linux-gnu".into()];
    let files = places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
    files
        .map(|file| file.path())
        .filter(|path| path.to_string_lossy().contains(".so"))
        .find(|path| std::fs::metadata(path).is_ok_and(|file| file.len() >= least))
}

#[test]
fn unwind_tables_are_built_in_milliseconds() {
    let machine = begin!();
    let measure = binary().with_file_name("examples").join("unwind_tables");
    if !measure.is_file() || !measure.components().any(|part| part.as_os_str() == "release") {
        return machine.skip("there is no release build of the example unwind_tables");
    }
    let libc = PathBuf::from("/lib/x86_64-linux-gnu/libc.so.6");
    let large = large_library(100 * MIB);
    if large.is_none() {
        machine.skip("no library of 100 MiB is here: only libc's table is measured");
    }
    // The least processor time of nine: other work on the machine can only add to it.
    for (path, limit) in [(Some(libc), 5.0), (large, 150.0)] {
        let Some(path) = path else { continue };
        let measured = run(Command::new(&measure).arg(&path));
        assert_eq!(measured.code(), 0, "{}", measured.err());
        let text = measured.out();
        let numbers: Vec<f64> = text.split('\t').filter_map(|word| word.parse().ok()).collect();
        let &[build, _read, code, table] = numbers.as_slice() else { panic!("{text}") };
        println!("{text}");
        // Of a larger library the share that 65 MB are.
        let limit = limit * (code / 65e6).max(1.0) * f64::from(slow());
        assert!(build < limit, "{}: {build} ms, at most {limit}", path.display());
        assert!(table < code / 5.0, "{}: a table of {table} bytes", path.display());
    }
}
