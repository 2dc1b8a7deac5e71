//! How long unwind tables take to build, and how much memory they are.
//!
//! Comes in: paths of ELF files. Goes out: a line for each: milliseconds to build and to read the
//! file's bytes once (both the least of nine times, of the thread's own processor time, so that
//! other work on the machine counts little; file cached), bytes of executable segments, bytes of
//! the table, path; with tabs between. `cargo xtask bench` runs it, and the test of costs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use rmap::unwind::table::Table;

/// How often each file is measured.
const TIMES: usize = 9;

fn main() {
    for path in std::env::args().skip(1) {
        if let Err(error) = measure(&path) {
            eprintln!("unwind_tables: {path}: {error}");
        }
    }
}

fn measure(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let data = std::fs::read(path)?;
    let (mut build, mut read) = (Duration::MAX, Duration::MAX);
    let mut bytes = (0, 0);
    for _ in 0..TIMES {
        let start = now()?;
        std::hint::black_box(std::fs::read(path)?);
        read = read.min(now()?.saturating_sub(start));
        let start = now()?;
        let table = Table::build(std::hint::black_box(&data))?;
        build = build.min(now()?.saturating_sub(start));
        bytes = (table.segments.iter().map(|segment| segment.file_size).sum(), table.bytes());
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{:.2}\t{:.2}\t{}\t{}\t{path}", ms(build), ms(read), bytes.0, bytes.1);
    Ok(())
}

/// The processor time of this thread.
fn now() -> nix::Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from)
}
