//! The command `pmap`: the plain segment table of one process.
//!
//! Comes in: a process id. Goes out: the text that `pmap -x` of procps 4 prints, column by column,
//! with the same totals. Names and arguments are another's data: bytes that a terminal could
//! take as commands are `?`, as procps has them.
//!
//! It differs in two places, where it tells more: a process whose first thread has exited is
//! shown through one that still runs, and bytes of a name that are not UTF-8 are `\ooo`.

use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;

use crate::live::procfs::{self, read_segments};
use crate::trace::Segment;

/// Longest command line that is shown, as in procps.
const MAX_COMMAND: u64 = 128 << 10;

/// Why the table could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process could not be read.
    #[error(transparent)]
    Process(#[from] procfs::Error),
    /// The table could not be written.
    #[error("cannot write the table of process {pid}: {source}")]
    Output {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Prints the segments of a process as `pmap -x PID` does.
///
/// # Errors
/// The process is not there or may not be read, or `out` cannot be written. A process without
/// memory (a kernel thread, a zombie) is no error: its table is empty.
pub fn pmap(pid: u32, out: &mut impl Write) -> Result<(), Error> {
    let segments = segments(pid)?;
    let table = table(pid, &command(pid), &segments, shm_device());
    out.write_all(table.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| Error::Output { pid, source })
}

/// The segments of a process.
///
/// # Errors
/// The process is not there or may not be read.
pub(super) fn segments(pid: u32) -> Result<Vec<Segment>, procfs::Error> {
    match read_segments(pid, pid) {
        Err(procfs::Error::NoMemory { .. }) => segments_of_any_thread(pid),
        other => other,
    }
}

/// Of the first thread that has memory; none for a kernel thread or a zombie.
fn segments_of_any_thread(pid: u32) -> Result<Vec<Segment>, procfs::Error> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let tids = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for tid in tids.filter(|tid| *tid != pid) {
        match read_segments(tid, pid) {
            Err(e) if e.is_gone() => {}
            other => return other,
        }
    }
    Ok(Vec::new())
}

fn table(pid: u32, command: &str, segments: &[Segment], shm: Option<(u32, u32)>) -> String {
    let mut text =
        format!("{pid}:   {command}\nAddress           Kbytes     RSS   Dirty Mode  Mapping\n");
    let mut totals = [0_u64; 3];
    for segment in segments {
        let sizes = [segment.size(), segment.rss, segment.dirty];
        for (total, size) in totals.iter_mut().zip(sizes) {
            *total = total.saturating_add(size >> 10);
        }
        let [size, rss, dirty] = sizes.map(|size| size >> 10);
        let (start, mode, mapping) = (segment.start, mode(segment), mapping(segment, shm));
        text.push_str(&format!("{start:016x} {size:>7} {rss:>7} {dirty:>7} {mode} {mapping}\n"));
    }
    let [size, rss, dirty] = totals;
    text.push_str("---------------- ------- ------- ------- \n");
    text.push_str(&format!("{:<16} {size:>7} {rss:>7} {dirty:>7}\n", "total kB"));
    text
}

/// `rwx`, then `s` for shared memory, then a column that is always empty.
fn mode(segment: &Segment) -> String {
    let access = segment.perms.get(..3).unwrap_or("---");
    let shared = if segment.is_private() { '-' } else { 's' };
    format!("{access}{shared}-")
}

/// The last part of the path; what has no path is anonymous, whatever the kernel calls it, but
/// for the stack.
fn mapping(segment: &Segment, shm: Option<(u32, u32)>) -> String {
    if segment.name.starts_with("/SYSV") && shm == Some(segment.device) {
        return format!("  [ shmid=0x{:x} ]", segment.inode);
    }
    match segment.name.rsplit_once('/') {
        Some((_, "")) => "/".to_owned(),
        Some((_, last)) => {
            last.bytes().map(|b| if is_plain(b) { char::from(b) } else { '?' }).collect()
        }
        None if segment.name == "[stack]" => "  [ stack ]".to_owned(),
        None => "  [ anon ]".to_owned(),
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

/// The device of the kernel's own shared memory, where System V segments live; a file that is
/// only called `/SYSV…` lies on another.
fn shm_device() -> Option<(u32, u32)> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let file = std::fs::File::from(memfd_create("rmap", MFdFlags::MFD_CLOEXEC).ok()?);
    let device = file.metadata().ok()?.dev();
    Some((libc::major(device), libc::minor(device)))
}

/// The command line, or the thread's name in brackets where there is none.
fn command(pid: u32) -> String {
    let mut line = Vec::new();
    if let Ok(file) = std::fs::File::open(format!("/proc/{pid}/cmdline")) {
        let _ = file.take(MAX_COMMAND).read_to_end(&mut line);
    }
    if !line.is_empty() {
        return command_line(&line);
    }
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = printable(name.strip_suffix(b"\n").unwrap_or(&name));
    let zombie = std::fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_zombie(&stat));
    if zombie { format!("[{name}] <defunct>") } else { format!("[{name}]") }
}

/// The state is the field behind the name, and the name may hold anything.
fn is_zombie(stat: &[u8]) -> bool {
    let end_of_name = stat.iter().rposition(|b| *b == b')');
    end_of_name.and_then(|at| stat.get(at + 2)).is_some_and(|state| b"ZXx".contains(state))
}

/// The arguments, joined by blanks.
fn command_line(line: &[u8]) -> String {
    let end = line.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    if end == 0 {
        return "?".to_owned();
    }
    let joined: Vec<u8> =
        line[..end].iter().map(|b| if matches!(b, 0 | b'\n') { b' ' } else { *b }).collect();
    printable(&joined)
}

/// Text that moves no cursor, changes no colour and turns no direction.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().map(|c| if is_unsafe(c) { '?' } else { c }));
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// Control characters, and those that change the direction of text or are not seen.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    fn segment(perms: &str, name: &str) -> Segment {
        Segment {
            start: 0x7f00_0000_0000,
            end: 0x7f00_0000_3000,
            perms: perms.into(),
            name: name.into(),
            device: (0, 1),
            inode: 9,
            rss: 8 << 10,
            dirty: 4 << 10,
            ..Segment::default()
        }
    }

    #[test]
    fn the_table_is_laid_out_as_procps_does() {
        let mut large = segment("---p", "");
        large.end = large.start + (20_971_520_000 << 10);
        let segments =
            [segment("r-xp", "/usr/bin/true"), segment("rw-s", "/SYSV0 (deleted)"), large];
        let expected = "\
7:   true x
Address           Kbytes     RSS   Dirty Mode  Mapping
00007f0000000000      12       8       4 r-x-- true
00007f0000000000      12       8       4 rw-s-   [ shmid=0x9 ]
00007f0000000000 20971520000       8       4 -----   [ anon ]
---------------- ------- ------- -------\u{20}
total kB         20971520024      24      12
";
        assert_eq!(table(7, "true x", &segments, Some((0, 1))), expected);
    }

    #[test]
    fn names_are_safe_for_a_terminal() {
        let shown = |name| mapping(&segment("r--p", name), None);
        assert_eq!(shown("/a/\u{1b}[31m\u{7f}é"), "?[31m???");
        assert_eq!(shown("/SYSV00000000 (deleted)"), "SYSV00000000 (deleted)");
        assert_eq!(shown("/"), "/");
        assert_eq!(shown("[vdso]"), "  [ anon ]");
        assert_eq!(shown("[stack]"), "  [ stack ]");
        assert_eq!(command_line(b"a\0b\nc\x1b[0m\0\xff\xc3\xa9\xe2\x80\xae\0\0"), "a b c?[0m ?é?");
        assert_eq!(command_line(b"\0\0"), "?");
        assert!(is_zombie(b"12 (a) R) Z 1"));
        assert!(!is_zombie(b"12 (Z) Z) S 1") && !is_zombie(b"12") && !is_zombie(b"1 (x)"));
    }

    /// A child that is killed when dropped.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Starts a program that prints a line when it is ready, and stops it then.
    fn stopped(command: &mut Command) -> Option<Running> {
        let mut child = Running(command.stdout(Stdio::piped()).spawn().ok()?);
        let mut ready = [0; 1];
        child.0.stdout.as_mut()?.read_exact(&mut ready).unwrap();
        let pid = child.0.id();
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()),
            nix::sys::signal::Signal::SIGSTOP,
        )
        .unwrap();
        wait_until(|| {
            std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") T "))
        });
        Some(child)
    }

    fn wait_until(mut done: impl FnMut() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(started.elapsed() < Duration::from_secs(10), "it does not stand still");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What procps prints; `None` where it is not installed.
    fn procps(pid: u32) -> Option<String> {
        let output = Command::new("pmap").arg("-x").arg(pid.to_string()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Writeback makes the pages of files clean in between, so two readings may differ; a few attempts tell that from a difference of rmap's.
    fn assert_equal_to_procps(pid: u32) {
        for attempt in 1.. {
            let Some(theirs) = procps(pid) else {
                eprintln!("not compared: pmap of procps is not installed");
                return;
            };
            let mut ours = Vec::new();
            pmap(pid, &mut ours).unwrap();
            let ours = String::from_utf8(ours).unwrap();
            if attempt == 5 || ours == theirs {
                assert_eq!(ours, theirs);
                return;
            }
        }
    }

    #[test]
    fn a_shell_a_kernel_thread_and_a_zombie_are_as_in_procps() {
        let mut shell = Command::new("sh");
        let shell = stopped(
            shell.args(["-c", "echo; read x", "a  b", "\u{1b}[31m\u{e9}"]).stdin(Stdio::piped()),
        )
        .unwrap();
        assert_equal_to_procps(shell.0.id());
        if procps(2).is_some_and(|text| text.contains("[kthreadd]")) {
            assert_equal_to_procps(2);
        } else {
            eprintln!("not compared: kernel threads are not seen from here");
        }
        let zombie = Running(Command::new("true").spawn().unwrap());
        let stat = format!("/proc/{}/stat", zombie.0.id());
        wait_until(|| is_zombie(&std::fs::read(&stat).unwrap()));
        assert_equal_to_procps(zombie.0.id());
    }

    #[test]
    fn a_program_with_files_and_shared_memory_is_as_in_procps() {
        let directory = tempfile::tempdir().unwrap();
        let script = r#"
import ctypes, mmap, os, sys
keep = []
names = [b'nl\nx', b'esc\x1b[31m', b'tab\tx', b' lead', b'trail  ', 'é'.encode(), b'back\\slash',
         b'SYSV00000000', b'(deleted)', b'gone', b'a (deleted)']
for i, name in enumerate(names):
    path = os.path.join(os.fsencode(sys.argv[1]), name)
    f = open(path, 'wb+'); f.write(b'x' * 8192); f.flush()
    m = mmap.mmap(f.fileno(), 8192, flags=[mmap.MAP_SHARED, mmap.MAP_PRIVATE][i % 2])
    m[0] = 1; keep.append(m)
    if name == b'gone': os.unlink(path)
fd = os.memfd_create('my/mem'); os.ftruncate(fd, 8192); keep.append(mmap.mmap(fd, 8192))
keep[-1][4096] = 1
keep.append(mmap.mmap(-1, 8192))
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
at = libc.shmget(0, 8192, 0o1600); ctypes.memset(libc.shmat(at, None, 0), 1, 100)
libc.shmctl(at, 0, None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mmap(None, 20 << 40, 0, 0x4022, -1, 0)
libc.mmap(None, 1 << 20, 4, 0x22, -1, 0)
print(flush=True)
sys.stdin.read()
"#;
        let mut python = Command::new("python3");
        python.arg("-c").arg(script).arg(directory.path()).stdin(Stdio::piped());
        let Some(python) = stopped(&mut python) else {
            eprintln!("not compared: no python3");
            return;
        };
        assert_equal_to_procps(python.0.id());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        let error = pmap(4_194_304, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Process(procfs::Error::Gone { .. })), "{error}");
    }
}
