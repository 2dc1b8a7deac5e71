//! The books of a group, read from its files.
//!
//! Comes in: a folder of a cgroup file system. Goes out: [`CgroupBooks`].
//!
//! Interface: `Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/memory.rst`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::report::{CgroupBooks, CgroupPressure};

/// Files of version 2 that hold a limit.
const LIMITS: [&str; 5] =
    ["memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max"];
/// And of version 1.
const LIMITS_1: [&str; 4] = [
    "memory.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.kmem.limit_in_bytes",
];

/// Version 1 writes the largest number of pages where there is no limit.
const NO_LIMIT: u64 = 1 << 62;

/// Reads them; `None` if the group has no memory controller, or is gone.
pub(super) fn read(folder: &Path, version: u8, at_ns: u64) -> Option<CgroupBooks> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let stat = numbers(&text("memory.stat").unwrap_or_default());
    let of = |name: &str| stat.get(name).copied();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let limits = |names: &[&str]| {
        let set = names.iter().filter_map(|name| Some(((*name).to_owned(), number(name)?)));
        set.filter(|(_, limit)| *limit < NO_LIMIT).collect::<BTreeMap<_, _>>()
    };
    if version == 1 {
        let mut events = numbers(&text("memory.oom_control").unwrap_or_default());
        events.remove("oom_kill_disable");
        events.extend(Some("failcnt".to_owned()).zip(number("memory.failcnt")));
        return Some(CgroupBooks {
            at_ns,
            current_bytes: number("memory.usage_in_bytes")?,
            peak_bytes: number("memory.max_usage_in_bytes"),
            anon_bytes: of("total_rss"),
            file_bytes: of("total_cache"),
            shmem_bytes: of("total_shmem"),
            file_mapped_bytes: of("total_mapped_file"),
            file_dirty_bytes: of("total_dirty"),
            file_writeback_bytes: of("total_writeback"),
            kernel_bytes: number("memory.kmem.usage_in_bytes"),
            swap_bytes: of("total_swap"),
            limits: limits(&LIMITS_1),
            events,
            ..CgroupBooks::default()
        });
    }
    // The kernel adds them up itself since 5.18.
    let parts = ["slab", "kernel_stack", "pagetables", "percpu", "vmalloc"];
    let kernel =
        of("kernel").or_else(|| parts.iter().filter_map(|part| of(part)).reduce(|a, b| a + b));
    Some(CgroupBooks {
        at_ns,
        current_bytes: number("memory.current")?,
        peak_bytes: number("memory.peak"),
        anon_bytes: of("anon"),
        file_bytes: of("file"),
        shmem_bytes: of("shmem"),
        file_mapped_bytes: of("file_mapped"),
        file_dirty_bytes: of("file_dirty"),
        file_writeback_bytes: of("file_writeback"),
        kernel_bytes: kernel,
        slab_bytes: of("slab"),
        kernel_stack_bytes: of("kernel_stack"),
        page_table_bytes: of("pagetables"),
        socket_bytes: of("sock"),
        swap_bytes: number("memory.swap.current"),
        limits: limits(&LIMITS),
        events: numbers(&text("memory.events").unwrap_or_default()),
        pressure: text("memory.pressure").and_then(|text| pressure(&text)),
    })
}

/// Lines of a name and a number.
fn numbers(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`.
fn pressure(text: &str) -> Option<CgroupPressure> {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.split(' ').find_map(|word| word.strip_prefix("total=")?.parse().ok())
    };
    Some(CgroupPressure { some_us: total("some ")?, full_us: total("full ")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn books_of_version_2() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[
                ("memory.current", "104857600\n"),
                ("memory.peak", "204857600\n"),
                (
                    "memory.stat",
                    "anon 1000\nfile 2000\nkernel 300\nkernel_stack 16\npagetables 32\nsock 4\n\
                     shmem 5\nfile_mapped 600\nfile_dirty 7\nfile_writeback 0\nslab 200\n",
                ),
                ("memory.max", "209715200\n"),
                ("memory.high", "max\n"),
                ("memory.events", "low 0\nhigh 3\nmax 1\noom 0\noom_kill 0\n"),
                (
                    "memory.pressure",
                    "some avg10=1.00 avg60=0.50 avg300=0.10 total=12345\n\
                     full avg10=0.00 avg60=0.00 avg300=0.00 total=678\n",
                ),
                ("memory.swap.current", "8192\n"),
            ],
        );
        let books = read(folder.path(), 2, 7).unwrap();
        assert_eq!((books.at_ns, books.current_bytes), (7, 104_857_600));
        assert_eq!((books.anon_bytes, books.file_bytes), (Some(1000), Some(2000)));
        assert_eq!((books.kernel_bytes, books.slab_bytes), (Some(300), Some(200)));
        assert_eq!(books.swap_bytes, Some(8192));
        assert_eq!(books.limits, BTreeMap::from([("memory.max".to_owned(), 209_715_200)]));
        assert_eq!(books.events.get("high"), Some(&3));
        assert_eq!(books.pressure, Some(CgroupPressure { some_us: 12345, full_us: 678 }));
    }

    #[test]
    fn books_of_version_1_are_those_of_the_groups_below_too() {
        let folder = tempfile::tempdir().unwrap();
        write(
            folder.path(),
            &[
                ("memory.usage_in_bytes", "4096\n"),
                ("memory.stat", "cache 1\nrss 2\ntotal_cache 10\ntotal_rss 20\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.memsw.limit_in_bytes", "1048576\n"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
                ("memory.failcnt", "9\n"),
                ("memory.kmem.usage_in_bytes", "512\n"),
            ],
        );
        let books = read(folder.path(), 1, 0).unwrap();
        assert_eq!((books.anon_bytes, books.file_bytes), (Some(20), Some(10)));
        assert_eq!(books.kernel_bytes, Some(512));
        assert_eq!(
            books.limits,
            BTreeMap::from([("memory.memsw.limit_in_bytes".to_owned(), 1 << 20)])
        );
        let events: Vec<_> = books.events.iter().map(|(name, n)| (name.as_str(), *n)).collect();
        assert_eq!(events, [("failcnt", 9), ("oom_kill", 2), ("under_oom", 0)]);
    }

    #[test]
    fn a_group_without_the_controller_has_no_books() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), 2, 0), None);
        assert_eq!(read(folder.path(), 1, 0), None);
    }
}
