//! What is fed to rmap's readers: one target for each thing that somebody else writes.
//!
//! Comes in: any bytes. Goes out: nothing; a target fails by panicking, by taking too long, or by
//! taking too much memory. `cargo xtask fuzz` lets libFuzzer choose the bytes; the tests here
//! feed what is kept in `corpus/`, on any machine.

mod elf;

use std::path::{Path, PathBuf};

/// One reader, and what it is fed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    /// Longest input that is tried, in bytes.
    pub max_len: usize,
    /// Reads.
    pub run: fn(&[u8]),
}

/// All targets. A new reader of foreign bytes gets a line here, a function, and a few seeds in
/// `corpus/NAME`.
pub const TARGETS: &[Target] = &[
    Target {
        name: "elf",
        what: "an ELF file, for its unwind table and its symbols",
        max_len: 1 << 14,
        run: |bytes| {
            rmap::unwind::fuzz_entry(bytes);
            symbols(bytes);
        },
    },
    Target {
        name: "eh_frame",
        what: "the .eh_frame of an ELF file",
        max_len: 1 << 12,
        run: |bytes| rmap::unwind::fuzz_entry(&elf::with_eh_frame(bytes)),
    },
    Target {
        name: "pclntab",
        what: "Go's own table of functions",
        max_len: 1 << 12,
        run: rmap::pclntab::fuzz_entry,
    },
    Target {
        name: "python",
        what: "a line table of CPython's, or a file that may be one",
        max_len: 1 << 12,
        run: rmap::runtime::python::fuzz_entry,
    },
    Target {
        name: "table_cache",
        what: "a file of the cache of unwind tables, its checksum made right",
        max_len: 1 << 12,
        run: rmap::unwind::cache::fuzz_entry,
    },
    Target {
        name: "recording",
        what: "a recording, made a report again",
        max_len: 1 << 16,
        run: rmap::replay::fuzz_entry,
    },
    Target {
        name: "session",
        what: "inputs of a session in any order, as a batch of a recording has them",
        max_len: 1 << 14,
        run: rmap::replay::fuzz_session,
    },
    Target {
        name: "perf_map",
        what: "the names that a program wrote for its own code",
        max_len: 1 << 12,
        run: |bytes| {
            let _ = rmap::symbol::PerfMap::parse(bytes).find(0x1000);
        },
    },
    Target {
        name: "worker",
        what: "an answer of the process that reads foreign files",
        max_len: 1 << 12,
        run: rmap::live::worker::protocol::fuzz_entry,
    },
    Target {
        name: "records",
        what: "records of the ring buffer",
        max_len: 1 << 14,
        run: rmap::trace::fuzz_entry,
    },
    Target {
        name: "smaps",
        what: "the text of /proc/PID/smaps",
        max_len: 1 << 12,
        run: rmap::live::procfs::fuzz_entry,
    },
    Target {
        name: "maps",
        what: "the text of /proc/PID/maps",
        max_len: 1 << 12,
        run: rmap::live::modules::fuzz_entry,
    },
    Target { name: "btf", what: "type information of the kernel", max_len: 1 << 12, run: btf },
];

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Where the kept inputs of a target are.
#[must_use]
pub fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// ELF headers as `symbol` reads them: from a file.
fn symbols(bytes: &[u8]) {
    use std::io::Write as _;
    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(bytes).is_ok() {
        if let Ok(headers) = rmap::symbol::elf::Headers::read(&file) {
            let _ = headers.address_of(bytes.len() as u64);
        }
        let _ = rmap::symbol::elf::Sections::read(&file);
    }
}

/// The questions that the probes' plan asks, and one for each shape of answer.
fn btf(bytes: &[u8]) {
    use rmap::live::btf::Btf;
    let Ok(btf) = Btf::parse(bytes) else { return };
    let _ = btf.member("a", "b");
    let _ = btf.member_offset("a", "b.c");
    let _ = btf.array_len("a", "b");
    let _ = btf.size_of("a");
    let _ = btf.has_typedef("a");
    let _ = btf.has_function("a");
    let _ = btf.tracepoint("a");
}
