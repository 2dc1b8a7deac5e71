//! The threads of a process: their names, and where their stacks are.
//!
//! Comes in: a process. Goes out: a [`Thread`] for each thread that could be read, in the order of
//! their ids. The stack pointer is the kernel's word for which segment is a thread's stack; it is
//! known of threads that do not run (`/proc/PID/task/TID/syscall`, for those who may trace it).

use std::path::Path;

use super::{read_file, smaps};
use crate::trace::Thread;

/// Threads that are read at most: each costs two small files while the process waits.
const MOST: usize = 4096;

/// The threads of a process; those that end meanwhile are left out.
pub(super) fn read(pid: u32) -> Vec<Thread> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let mut tids: Vec<u32> =
        tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).take(MOST).collect();
    tids.sort_unstable();
    tids.into_iter().filter_map(|tid| thread(pid, tid)).collect()
}

fn thread(pid: u32, tid: u32) -> Option<Thread> {
    let folder = format!("/proc/{pid}/task/{tid}");
    let folder = Path::new(&folder);
    let name = read_file(folder.join("comm")).ok()?;
    let name = smaps::escaped(name.strip_suffix(b"\n").unwrap_or(&name));
    let stack_pointer =
        read_file(folder.join("syscall")).ok().and_then(|text| stack_pointer(&text));
    Some(Thread { tid, name, stack_pointer })
}

/// The word before the last of `NR ARGS… SP PC` or `-1 SP PC`; `None` for `running`, and for 0,
/// which the kernel says where it does not know.
fn stack_pointer(text: &[u8]) -> Option<u64> {
    let words: Vec<&str> = std::str::from_utf8(text).ok()?.split_whitespace().collect();
    let [.., pointer, _] = words[..] else { return None };
    u64::from_str_radix(pointer.strip_prefix("0x")?, 16).ok().filter(|pointer| *pointer != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_pointers_are_read_where_a_thread_stands_still() {
        let blocked = b"0 0x3 0x7f00 0x400 0x0 0x0 0x0 0x7ffc1000 0x7f1234\n";
        assert_eq!(stack_pointer(blocked), Some(0x7ffc_1000));
        assert_eq!(stack_pointer(b"-1 0x7ffc2000 0x401000\n"), Some(0x7ffc_2000));
        assert_eq!(stack_pointer(b"-1 0x0 0x0\n"), None);
        for text in [&b"running\n"[..], b"", b"\xff\xff", b"0x1", b"7 x y"] {
            assert_eq!(stack_pointer(text), None, "{text:?}");
        }
    }

    #[test]
    fn own_threads_have_their_names_and_stacks() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::Builder::new().name("a worker".into());
        let worker = worker.spawn(move || wait.recv()).unwrap();
        let found = std::iter::repeat_with(|| read(std::process::id()))
            .take(1000)
            .flatten()
            .find(|thread| thread.name == "a worker" && thread.stack_pointer.is_some());
        drop(done);
        worker.join().unwrap().unwrap_err();
        assert!(found.is_some(), "a thread that waits shows where its stack is");
    }
}
