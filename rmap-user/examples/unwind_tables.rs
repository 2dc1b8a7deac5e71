//! How long unwind tables take to build, and how much memory they are.
//!
//! Comes in: paths of ELF files. Goes out: a line for each: milliseconds to build (median of
//! five, file cached), milliseconds to read the file's bytes once, bytes of executable segments,
//! bytes of the table, path; with tabs between. `cargo xtask bench` runs it.

use rmap::unwind::table::Table;
use std::time::Instant;

fn main() {
    for path in std::env::args().skip(1) {
        if let Err(error) = measure(&path) {
            eprintln!("unwind_tables: {path}: {error}");
        }
    }
}

fn measure(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let data = std::fs::read(path)?;
    let mut build = Vec::new();
    let mut read = Vec::new();
    let mut bytes = (0, 0);
    for _ in 0..5 {
        let start = Instant::now();
        std::hint::black_box(std::fs::read(path)?);
        read.push(start.elapsed());
        let start = Instant::now();
        let table = Table::build(std::hint::black_box(&data))?;
        build.push(start.elapsed());
        bytes = (table.segments.iter().map(|segment| segment.file_size).sum(), table.bytes());
    }
    build.sort();
    read.sort();
    let ms = |times: &[std::time::Duration]| times.get(2).map_or(0.0, |t| t.as_secs_f64() * 1e3);
    println!("{:.2}\t{:.2}\t{}\t{}\t{path}", ms(&build), ms(&read), bytes.0, bytes.1);
    Ok(())
}
