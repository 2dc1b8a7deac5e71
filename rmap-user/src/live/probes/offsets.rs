//! Where the running kernel keeps what the probes read, and what its tracepoints hand over, from
//! its type information (BTF).

use std::collections::BTreeMap;

use crate::live::btf::{Argument, Btf, Error};

/// What the probes must know of the running kernel before they are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// Offsets in bytes, by the names of the globals of `rmap-ebpf/src/config.rs`.
    values: Vec<(&'static str, u64)>,
    /// Tracepoints that hand over something else than the probes read.
    other_shapes: BTreeMap<&'static str, String>,
}

/// The globals and the members whose offsets they hold.
const MEMBERS: [(&str, &str, &str); 10] = [
    ("TASK_MM", "task_struct", "mm"),
    ("TASK_PID", "task_struct", "pid"),
    ("TASK_TGID", "task_struct", "tgid"),
    ("TASK_EXIT_CODE", "task_struct", "exit_code"),
    ("TASK_FLAGS", "task_struct", "flags"),
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("SIGNAL_LIVE", "signal_struct", "live"),
    ("TASK_PTRACE", "task_struct", "ptrace"),
    ("TASK_PARENT", "task_struct", "parent"),
    ("MM_PGD", "mm_struct", "pgd"),
];

/// The task's own counts of resident pages: `events` and `count` of `struct task_rss_stat`, which
/// the probes read in one piece (`rmap-ebpf/src/logic/batch.rs`).
const GATHERED: (&str, &str, &str) = ("TASK_RSS_STAT", "rss_stat.events", "rss_stat.count");

/// What the probes of files read, all of it or nothing. No kernel is refused for them.
const FILES: [(&str, &str, &str); 12] = [
    ("FOLIO_INDEX", "folio", "index"),
    ("FOLIO_MAPPING", "folio", "mapping"),
    ("MAPPING_HOST", "address_space", "host"),
    ("MAPPING_MMAP", "address_space", "i_mmap"),
    ("INODE_NUMBER", "inode", "i_ino"),
    ("INODE_SUPER", "inode", "i_sb"),
    ("SUPER_DEVICE", "super_block", "s_dev"),
    ("TASK_FILES", "task_struct", "files"),
    ("FILES_TABLE", "files_struct", "fdt"),
    ("TABLE_MAX", "fdtable", "max_fds"),
    ("TABLE_FILES", "fdtable", "fd"),
    ("FILE_INODE", "file", "f_inode"),
];

/// What is read of a mapping in which a walk comes, all of it or nothing: without it, stacks that lead
/// through code made a moment ago are walked in user space.
const MAPPINGS: [(&str, &str, &str); 6] = [
    ("VMA_START", "vm_area_struct", "vm_start"),
    ("VMA_END", "vm_area_struct", "vm_end"),
    ("VMA_FLAGS", "vm_area_struct", "vm_flags"),
    ("VMA_FILE", "vm_area_struct", "vm_file"),
    ("VMA_OFFSET", "vm_area_struct", "vm_pgoff"),
    ("VMA_OPS", "vm_area_struct", "vm_ops"),
];

/// The time of an inode's last change: until Linux 6.5, 6.10, and since. Where it is not found, no file
/// is known by the kernel side.
const CHANGED: [(&str, &str); 3] = [
    ("i_ctime.tv_sec", "i_ctime.tv_nsec"),
    ("__i_ctime.tv_sec", "__i_ctime.tv_nsec"),
    ("i_ctime_sec", "i_ctime_nsec"),
];

/// The tracepoints that need them.
const OF_FILES: [&str; 2] = ["writeback_dirty_folio", "mm_filemap_delete_from_page_cache"];

/// What the probes read of raw tracepoints: the first arguments' types.
const SHAPES: &[(&str, &[&str])] = &[
    ("page_fault_user", &["long unsigned int", "struct pt_regs *", "long unsigned int"]),
    ("page_fault_kernel", &["long unsigned int", "struct pt_regs *", "long unsigned int"]),
    // Before 6.2 a third one follows.
    ("rss_stat", &["struct mm_struct *", "int"]),
    ("sched_process_fork", &["struct task_struct *", "struct task_struct *"]),
    ("sched_process_exec", &["struct task_struct *", "pid_t"]),
    // Since 6.16 a second one follows.
    ("sched_process_exit", &["struct task_struct *"]),
    ("writeback_dirty_folio", &["struct folio *", "struct address_space *"]),
    ("mm_filemap_delete_from_page_cache", &["struct folio *"]),
];

impl Offsets {
    /// Looks them up in the kernel's types.
    ///
    /// # Errors
    /// The first member that is not found, or is not as the probes know it.
    pub fn find(btf: &Btf<'_>) -> Result<Self, super::Error> {
        let failed =
            |structure: &str, member: &str, source: Box<dyn std::error::Error + Send + Sync>| {
                super::Error::Offsets { what: format!("{structure}.{member}"), source }
            };
        let mut values = Vec::new();
        for (global, structure, member) in MEMBERS {
            let offset = btf
                .member_offset(structure, member)
                .map_err(|source| failed(structure, member, source.into()))?;
            values.push((global, offset));
        }
        let (global, events, count) = GATHERED;
        let gathered = match btf.member_offset("task_struct", events) {
            // Since 6.2 there is no such member (kernel commit f1a7941243c1).
            Err(_) => 0,
            Ok(offset) => {
                let counts = btf.member_offset("task_struct", count);
                if counts != Ok(offset + 4) {
                    let what = format!("it is not right behind {events}: {counts:?}");
                    return Err(failed("task_struct", count, what.into()));
                }
                offset
            }
        };
        values.push((global, gathered));
        // Without it language runtimes are left aside.
        let thread_pointer = btf.member_offset("task_struct", "thread.fsbase");
        values.push(("TASK_FSBASE", thread_pointer.unwrap_or(0)));
        let mappings = MAPPINGS.map(|(global, structure, member)| {
            btf.member_offset(structure, member).map(|offset| (global, offset))
        });
        if let Ok(mut offsets) = mappings.into_iter().collect::<Result<Vec<_>, _>>() {
            values.append(&mut offsets);
        }
        let changed = CHANGED.iter().find_map(|(seconds, nanoseconds)| {
            let offset = |member| btf.member_offset("inode", member).ok();
            Some((offset(seconds)?, offset(nanoseconds)?))
        });
        if let Some((seconds, nanoseconds)) = changed {
            values.push(("INODE_CHANGED", seconds));
            values.push(("INODE_CHANGED_NS", nanoseconds));
        }
        // There only with CONFIG_MEMCG.
        values.push(("MM_OWNER", btf.member_offset("mm_struct", "owner").unwrap_or(0)));
        let mut other_shapes = other_shapes(|name| btf.tracepoint(name).ok());
        match of_files(btf) {
            Ok(mut offsets) => values.append(&mut offsets),
            Err(why) => {
                let text = format!("this kernel's files are not as the probe knows them: {why}");
                other_shapes.extend(OF_FILES.map(|name| (name, text.clone())));
            }
        }
        Ok(Self { values, other_shapes })
    }

    /// Whether a thread's pointer is known, from which language runtimes are found.
    #[must_use]
    pub fn has_thread_pointer(&self) -> bool {
        self.values.iter().any(|(name, value)| *name == "TASK_FSBASE" && *value != 0)
    }

    /// The globals to set before the load.
    pub(super) fn globals(&self) -> impl Iterator<Item = (&'static str, &u64)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }

    /// What the kernel hands over at a raw tracepoint, if it is not what the probes read.
    pub(super) fn other_shape(&self, tracepoint: &str) -> Option<&str> {
        self.other_shapes.get(tracepoint).map(String::as_str)
    }
}

fn of_files(btf: &Btf<'_>) -> Result<Vec<(&'static str, u64)>, Error> {
    let mut values = Vec::new();
    for (global, structure, member) in FILES {
        values.push((global, btf.member_offset(structure, member)?));
    }
    // Since 6.15 and before it; before 6.1 the size was kept otherwise.
    let pages = ["_nr_pages", "_folio_nr_pages"];
    let pages = pages.iter().find_map(|member| btf.member_offset("folio", member).ok());
    values.push(("FOLIO_PAGES", pages.unwrap_or(0)));
    values.push(("FOLIO_HEAD", btf.enum_value("pageflags", "PG_head")?.into()));
    Ok(values)
}

/// A tracepoint that is not in the types is left to the attempt to attach it.
fn other_shapes(
    arguments: impl Fn(&str) -> Option<Vec<Argument>>,
) -> BTreeMap<&'static str, String> {
    let mut others = BTreeMap::new();
    for &(tracepoint, expected) in SHAPES {
        let Some(found) = arguments(tracepoint) else { continue };
        let types: Vec<&str> = found.iter().map(|argument| argument.type_name.as_str()).collect();
        if !types.starts_with(expected) {
            let text = format!(
                "this kernel hands over ({}), where the probe reads ({})",
                types.join(", "),
                expected.join(", ")
            );
            others.insert(tracepoint, text);
        }
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_arguments_are_no_trouble_and_others_are_told() {
        let argument = |name: &str| Argument { name: None, type_name: name.to_owned(), size: 8 };
        let others = other_shapes(|name| match name {
            "rss_stat" => Some(["struct mm_struct *", "int", "long int"].map(argument).into()),
            "sched_process_exit" => Some(vec![argument("struct pid *")]),
            _ => None,
        });
        let told: Vec<_> = others.into_iter().collect();
        let what = "this kernel hands over (struct pid *), where the probe reads (struct \
                    task_struct *)";
        assert_eq!(told, [("sched_process_exit", what.to_owned())]);
    }

    #[test]
    fn the_running_kernel_is_known() {
        let Ok(bytes) = crate::live::btf::load() else {
            eprintln!("SKIP the_running_kernel_is_known: this kernel shows no BTF");
            return;
        };
        let offsets = Offsets::find(&Btf::parse(&bytes).unwrap()).unwrap();
        assert_eq!(offsets.other_shapes, BTreeMap::new());
    }
}
