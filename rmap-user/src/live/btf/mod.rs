//! The kernel's own type information (BTF): where members lie, and what tracepoints hand over.
//!
//! Comes in: `/sys/kernel/btf/vmlinux`. Goes out: answers to questions by name, see [`Btf`].
//!
//! rmap reads it itself: of the crates that do, btf-rs is under the LGPL, and aya-obj loads BTF to
//! relocate programs but does not show the members of a struct.
//!
//! The bytes are some 6 MB and the index half of one more: ask what is needed, then drop both.

mod parse;

use std::path::{Path, PathBuf};

pub use parse::{Argument, Btf, Error, Member};

/// Where the kernel shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The kernel has no types to show, or they cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read the kernel's types from {}: {source}; the kernel must be built with \
     CONFIG_DEBUG_INFO_BTF=y",
    path.display()
)]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: std::io::Error,
}

/// The bytes of the running kernel's types, for [`Btf::parse`].
///
/// # Errors
/// The kernel was built without BTF, or the file cannot be read.
pub fn load() -> Result<Vec<u8>, LoadError> {
    let path = Path::new(VMLINUX);
    std::fs::read(path).map_err(|source| LoadError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel() {
        let Ok(bytes) = load() else {
            eprintln!("not run: this kernel shows no BTF");
            return;
        };
        let btf = Btf::parse(&bytes).unwrap();
        let mm = btf.member_offset("task_struct", "mm").unwrap();
        assert!(mm > 0 && mm < btf.size_of("task_struct").unwrap());
        assert_eq!(btf.member("task_struct", "mm").unwrap().size, 8);
        assert_eq!(btf.array_len("task_struct", "comm").unwrap(), 16);
        // Inside an anonymous struct.
        assert!(btf.member_offset("mm_struct", "pgd").is_ok());
        assert_eq!(btf.member_offset("list_head", "next").unwrap(), 0);
        assert_eq!(btf.member_offset("list_head", "prev").unwrap(), 8);
        let nested = btf.member_offset("task_struct", "tasks.prev").unwrap();
        assert_eq!(nested, btf.member_offset("task_struct", "tasks").unwrap() + 8);
        assert!(btf.has_function("vfs_read") && !btf.has_function("no_such_function"));
        assert!(btf.has_typedef("pid_t") && !btf.has_typedef("no_such_type"));
        assert_eq!(btf.enum_value("pageflags", "PG_locked").unwrap(), 0);
        assert!(matches!(btf.enum_value("pageflags", "PG_none"), Err(Error::NoMember { .. })));
        let arguments = btf.tracepoint("sched_process_fork").unwrap();
        let types: Vec<&str> = arguments.iter().map(|a| a.type_name.as_str()).collect();
        assert_eq!(types, ["struct task_struct *", "struct task_struct *"]);
        let rss = btf.tracepoint("rss_stat").unwrap();
        assert_eq!(rss[0].type_name, "struct mm_struct *");
        assert_eq!((rss[1].type_name.as_str(), rss[1].size), ("int", 4));
        assert!(matches!(btf.tracepoint("no_such"), Err(Error::NoTracepoint(_))));
        assert!(matches!(btf.member("task_struct", "nonesuch"), Err(Error::NoMember { .. })));
        assert!(matches!(btf.size_of("no_such_struct"), Err(Error::NoType(_))));
    }
}
