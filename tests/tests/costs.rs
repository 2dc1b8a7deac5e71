//! What rmap itself takes: time and memory.

use std::process::Command;
use std::time::Duration;

use rmap_peer::{Loops, Sample, Shape, Watcher, bpf};
use rmap_tests::begin;
use rmap_tests::job::PAGE;
use rmap_tests::process::run;
use rmap_tests::rmap::{binary, trace};
use rmap_tests::workload::{self, BARE, WALKED};

const MIB: u64 = 1 << 20;

/// The one in the middle.
fn median<T: Copy + PartialOrd>(mut numbers: Vec<T>) -> T {
    numbers.sort_by(|a, b| a.partial_cmp(b).unwrap());
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
    let statistics = bpf::enable_stats().unwrap();
    let sample = |watcher| -> Sample {
        let sample = rmap_peer::run(&binary(), &loops, shape, watcher).unwrap();
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
fn a_fault_costs_less_than_the_kernels_own_walk_by_frame_pointers() {
    let _machine = begin!();
    for frames in [8, 18, 34, 66] {
        let (ours, peer) = beside_the_peer(frames, "same");
        assert!(ours < peer, "{frames} frames: {ours:.0} ns against {peer:.0} ns");
    }
}
