//! What rmap itself takes: time and memory.

use std::process::Command;
use std::time::Duration;

use rmap_tests::begin;
use rmap_tests::job::PAGE;
use rmap_tests::process::run;
use rmap_tests::rmap::{binary, trace};

const MIB: u64 = 1 << 20;

/// The median of five.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
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
