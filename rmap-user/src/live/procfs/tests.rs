//! Snapshots of children that stand still, against smaps of the same kernel.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, Pid, fork};

use super::scan::Scanner;
use super::{Error, Task, has_memory, pages, read_segments, take};
use crate::trace::{Moment, PageRun, PageState, Segment, Snapshot};

const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;

/// A child that stands still until it is dropped.
struct Stopped(Pid);

impl Stopped {
    /// Forks a child that does `work`, which may only make system calls and touch its own
    /// memory: this process has other threads, so locks may be held for ever in the child.
    fn after(work: impl FnOnce()) -> Self {
        // SAFETY: the child calls only `work`, `kill` and `_exit`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                work();
                // SAFETY: plain system calls on ourselves.
                unsafe {
                    libc::kill(libc::getpid(), libc::SIGSTOP);
                    libc::_exit(0)
                }
            }
            ForkResult::Parent { child } => {
                waitpid(child, Some(WaitPidFlag::WUNTRACED)).unwrap();
                Self(child)
            }
        }
    }

    fn id(&self) -> u32 {
        self.0.as_raw().cast_unsigned()
    }

    fn snapshot(&self) -> Snapshot {
        take(self.id(), self.id(), Moment::Live, true).unwrap()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// Memory at a fixed place that children inherit as an address, not as memory.
struct Area {
    start: usize,
    bytes: usize,
}

impl Area {
    fn map(bytes: usize, prot: i32, flags: i32, fd: i32) -> Self {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, prot, flags, fd, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        Self { start: start as usize, bytes }
    }

    fn anonymous(bytes: usize) -> Self {
        Self::map(bytes, RW, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1)
    }

    fn file(file: &File, bytes: usize, prot: i32, sharing: i32) -> Self {
        Self::map(bytes, prot, sharing, file.as_raw_fd())
    }

    fn page(&self, page: usize) -> *mut u8 {
        assert!(page * PAGE < self.bytes);
        (self.start + page * PAGE) as *mut u8
    }

    fn write(&self, page: usize) {
        // SAFETY: inside the mapping.
        unsafe { self.page(page).write_volatile(7) }
    }

    fn read(&self, page: usize) {
        // SAFETY: inside the mapping.
        unsafe { self.page(page).read_volatile() };
    }

    fn advise(&self, page: usize, bytes: usize, advice: i32) {
        // SAFETY: inside the mapping, of which nothing else is kept.
        let result = unsafe { libc::madvise(self.page(page).cast(), bytes, advice) };
        assert_eq!(result, 0, "madvise {advice}");
    }

    /// The segment of the child that holds it, and the runs in its range.
    fn of<'a>(&self, snapshot: &'a Snapshot) -> (&'a Segment, Vec<&'a PageRun>) {
        let start = self.start as u64;
        let range = start..start + self.bytes as u64;
        let segment = snapshot.segments.iter().find(|s| s.start <= start && start < s.end).unwrap();
        let runs = snapshot.pages.as_ref().unwrap();
        (segment, runs.iter().filter(|run| range.contains(&run.range.start)).collect())
    }

    fn pages(&self, snapshot: &Snapshot, state: PageState) -> u64 {
        let (_, runs) = self.of(snapshot);
        let bytes: u64 = runs
            .iter()
            .filter(|run| run.kind.state == state)
            .map(|run| run.range.end - run.range.start)
            .sum();
        bytes / PAGE as u64
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: our own mapping, to which no reference was handed out.
        unsafe { libc::munmap(self.start as *mut libc::c_void, self.bytes) };
    }
}

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn file_of(pages: usize) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![1; pages * PAGE]).unwrap();
    file.sync_all().unwrap();
    file
}

/// In every segment the pages add up to what smaps says, by both ways of finding them.
fn assert_sums(snapshot: &Snapshot) {
    let path = format!("/proc/{}/pagemap", snapshot.pid);
    let file = File::open(path).unwrap();
    let scanner = Scanner::new(&file);
    if scanner.is_some() {
        let scanned = pages::read_from(&file, scanner, &snapshot.segments).unwrap();
        assert_eq!(Some(&scanned), snapshot.pages.as_ref());
        assert_sums_of(&snapshot.segments, &scanned, "PAGEMAP_SCAN");
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not checked without root, where frames are hidden: entry by entry");
        return;
    }
    let walked = pages::read_from(&file, None, &snapshot.segments).unwrap();
    assert_sums_of(&snapshot.segments, &walked, "pagemap");
}

fn assert_sums_of(segments: &[Segment], runs: &[PageRun], how: &str) {
    let bytes = |run: &&PageRun| run.range.end - run.range.start;
    for segment in segments {
        let own =
            runs.iter().filter(|r| r.range.start >= segment.start && r.range.end <= segment.end);
        let of =
            |state| own.clone().filter(|r| r.kind.state == state).map(|r| bytes(&r)).sum::<u64>();
        assert_eq!(of(PageState::Anonymous), segment.anonymous, "{how}: {segment:x?}");
        let resident = of(PageState::Anonymous) + of(PageState::File);
        assert_eq!(resident, segment.rss, "{how}: {segment:x?}");
        assert_eq!(of(PageState::Swapped), segment.swap, "{how}: {segment:x?}");
    }
    let inside = |run: &&PageRun| {
        segments.iter().any(|s| s.start <= run.range.start && run.range.end <= s.end)
    };
    assert!(runs.iter().all(|run| inside(&run)), "{how}: each run is in one segment");
    assert!(runs.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start), "{how}: order");
}

#[test]
fn a_program_that_stands_still() {
    let mut child = Command::new("sleep").arg("100").stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let before = super::monotonic_ns();
    let snapshot = take(child.id(), child.id(), Moment::Live, true);
    if let Ok(snapshot) = &snapshot {
        assert_sums(snapshot);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let snapshot = snapshot.unwrap();
    assert!(snapshot.segments[0].name.ends_with("/sleep"));
    assert!(snapshot.time_ns >= before && snapshot.time_ns <= super::monotonic_ns());
    let rss: u64 = snapshot.segments.iter().map(|s| s.rss).sum();
    assert!(snapshot.peak_rss >= rss && rss > 0);
    for name in ["[vdso]", "[vvar]", "[stack]"] {
        assert!(snapshot.segments.iter().any(|s| s.name == name), "{name}");
    }
}

#[test]
fn anonymous_memory_zero_page_and_dontneed() {
    let area = Area::anonymous(64 * PAGE);
    let child = Stopped::after(|| {
        (0..16).for_each(|page| area.write(page));
        (16..32).for_each(|page| area.read(page));
        area.advise(4, 4 * PAGE, libc::MADV_DONTNEED);
    });
    let snapshot = child.snapshot();
    assert_eq!(area.pages(&snapshot, PageState::Anonymous), 12);
    assert_eq!(area.pages(&snapshot, PageState::Zero), 16);
    assert_sums(&snapshot);
}

#[test]
fn more_runs_than_the_kernel_buffers() {
    // The kernel hands out 512 runs at a time, and our buffer takes 1024: end in the first, on
    // the edge, in the second, and beyond.
    for runs in [511, 512, 513, 1023, 1024, 1025, 1600] {
        let area = Area::anonymous(2 * runs * PAGE);
        let child = Stopped::after(|| (0..runs).for_each(|page| area.write(2 * page)));
        let snapshot = child.snapshot();
        assert_eq!(area.pages(&snapshot, PageState::Anonymous), runs as u64);
        assert_sums(&snapshot);
    }
}

#[test]
fn private_file_read_and_partly_rewritten() {
    let file = file_of(32);
    let area = Area::file(&file, 32 * PAGE, RW, libc::MAP_PRIVATE);
    let child = Stopped::after(|| {
        (0..32).for_each(|page| area.read(page));
        (8..12).for_each(|page| area.write(page));
    });
    let snapshot = child.snapshot();
    assert_eq!(area.pages(&snapshot, PageState::File), 28);
    assert_eq!(area.pages(&snapshot, PageState::Anonymous), 4);
    assert_eq!(area.of(&snapshot).0.dirty, 4 * PAGE as u64);
    assert_sums(&snapshot);
}

#[test]
fn shared_file_written_then_synced() {
    let file = file_of(32);
    let area = Area::file(&file, 32 * PAGE, RW, libc::MAP_SHARED);
    let write = || (4..8).for_each(|page| area.write(page));
    let written = Stopped::after(|| {
        (0..32).for_each(|page| area.read(page));
        write();
    });
    let snapshot = written.snapshot();
    let (segment, runs) = area.of(&snapshot);
    assert_eq!(area.pages(&snapshot, PageState::File), 32);
    if nix::unistd::geteuid().is_root() {
        let dirty: u64 = runs
            .iter()
            .filter(|r| r.kind.folio_dirty == Some(true))
            .map(|r| r.range.end - r.range.start)
            .sum();
        assert_eq!(dirty, segment.dirty, "a shared file's dirt is its folios': {runs:x?}");
    } else {
        eprintln!("not checked without root: the flags of folios");
    }
    assert!(segment.dirty >= 4 * PAGE as u64);
    assert_sums(&snapshot);
    drop(written);

    let synced = Stopped::after(|| {
        write();
        // SAFETY: inside the mapping.
        unsafe { libc::msync(area.page(0).cast(), 32 * PAGE, libc::MS_SYNC) };
    });
    let snapshot = synced.snapshot();
    assert_eq!(area.of(&snapshot).0.dirty, 0);
    assert_sums(&snapshot);
}

/// A large folio is dirty as a whole, and each of its pages says so, head and tails.
#[test]
fn large_folios_are_told() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run without root: /proc/kpageflags");
        return;
    }
    let file = file_of(1024);
    let area = Area::file(&file, 1024 * PAGE, RW, libc::MAP_SHARED);
    let child = Stopped::after(|| {
        (0..1024).for_each(|page| area.read(page));
        area.write(100);
    });
    let snapshot = child.snapshot();
    let (segment, runs) = area.of(&snapshot);
    let of = |large: Option<bool>, dirty: Option<bool>| -> u64 {
        let of = |r: &&&PageRun| r.kind.large_folio == large && r.kind.folio_dirty == dirty;
        runs.iter().filter(of).map(|r| r.range.end - r.range.start).sum()
    };
    let (large, small) = (of(Some(true), Some(true)), of(Some(false), Some(true)));
    assert_eq!(large + small, segment.dirty, "{runs:x?}");
    if segment.dirty > PAGE as u64 {
        assert_eq!(small, 0, "one write made many pages dirty: it was a large folio");
    } else {
        eprintln!("this file system gave no large folio");
    }
    assert_sums(&snapshot);
}

/// A folio is told with its pages of which there are private copies, and not where it is cut.
#[test]
fn large_folios_are_found_where_they_lie_as_a_whole() {
    if !nix::unistd::geteuid().is_root() || !crate::live::release::maps_whole_folios() {
        eprintln!("not run: it needs root, and Linux 6.18 or later");
        return;
    }
    // A folio is not larger than the write that makes it.
    let mut file = tempfile::tempfile().unwrap();
    (0..4).for_each(|_| file.write_all(&[1; 16 * PAGE]).unwrap());
    file.sync_all().unwrap();
    let area = Area::file(&file, 64 * PAGE, RW, libc::MAP_PRIVATE);
    let whole = Stopped::after(|| {
        (0..64).for_each(|page| area.read(page));
    });
    let folios = whole.snapshot().folios;
    drop(whole);
    let bytes = area.bytes as u64;
    let inside =
        |folio: &&Range<u64>| (area.start as u64..area.start as u64 + bytes).contains(&folio.start);
    let of_area: Vec<_> = folios.iter().filter(inside).cloned().collect();
    if of_area.is_empty() {
        eprintln!("this file system gave no large folio");
        return;
    }
    for folio in &of_area {
        let size = folio.end - folio.start;
        assert!(size.is_power_of_two() && size > PAGE as u64, "{of_area:x?}");
        assert_eq!(
            (folio.start - area.start as u64) % size,
            0,
            "aligned in the file: {of_area:x?}"
        );
    }
    assert!(of_area.is_sorted_by(|a, b| a.end <= b.start), "{of_area:x?}");
    let copied = Stopped::after(|| {
        (0..64).for_each(|page| area.read(page));
        let first = (of_area[0].start as usize - area.start) / PAGE;
        area.write(first);
        area.write(first + 1);
    });
    let again: Vec<_> = copied.snapshot().folios.iter().filter(inside).cloned().collect();
    assert_eq!(again.contains(&of_area[0]), of_area[0].end - of_area[0].start > 2 * PAGE as u64);
}

#[test]
fn shared_memory() {
    let name = c"rmap test \n\xff";
    // SAFETY: a plain system call with a terminated name.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: a new descriptor that nothing else owns.
    let file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    file.set_len(32 * PAGE as u64).unwrap();
    let area = Area::file(&file, 32 * PAGE, RW, libc::MAP_SHARED);
    let child = Stopped::after(|| {
        (0..8).for_each(|page| area.write(page));
        (8..10).for_each(|page| area.read(page));
    });
    let snapshot = child.snapshot();
    let (segment, _) = area.of(&snapshot);
    assert_eq!(segment.name, "/memfd:rmap test \\012\\377 (deleted)");
    assert!(area.pages(&snapshot, PageState::File) >= 10);
    assert_eq!(area.pages(&snapshot, PageState::File) * PAGE as u64, segment.rss);
    assert_sums(&snapshot);
}

#[test]
fn huge_pages_and_the_huge_zero_page() {
    let area = Area::anonymous(4 * HUGE);
    let skip = (HUGE - area.start % HUGE) % HUGE / PAGE;
    area.advise(0, area.bytes, libc::MADV_HUGEPAGE);
    let child = Stopped::after(|| {
        area.write(skip);
        area.read(skip + HUGE / PAGE);
        area.write(skip + 2 * HUGE / PAGE);
        area.advise(skip + 2 * HUGE / PAGE, 8 * PAGE, libc::MADV_DONTNEED);
        // Else khugepaged may join the rest again at any moment.
        area.advise(0, area.bytes, libc::MADV_NOHUGEPAGE);
    });
    let snapshot = child.snapshot();
    let (_, runs) = area.of(&snapshot);
    // What the kernel says that it gave: it may have none to give.
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps", child.id())).unwrap();
    let given: u64 = smaps
        .lines()
        .filter_map(|line| line.strip_prefix("AnonHugePages:")?.trim().strip_suffix(" kB"))
        .map(|kib| kib.trim().parse::<u64>().unwrap() * 1024)
        .sum();
    let huge = |runs: &[&PageRun]| -> u64 {
        let huge = runs.iter().filter(|r| r.kind.huge && r.kind.state == PageState::Anonymous);
        huge.map(|r| r.range.end - r.range.start).sum()
    };
    assert_eq!(huge(&runs), given, "{runs:x?}");
    if nix::unistd::geteuid().is_root() {
        let file = File::open(format!("/proc/{}/pagemap", child.id())).unwrap();
        let walked = pages::read_from(&file, None, &snapshot.segments).unwrap();
        assert_eq!(huge(&walked.iter().collect::<Vec<_>>()), given, "entry by entry: {walked:x?}");
    }
    if given == HUGE as u64 {
        let pages = (HUGE / PAGE) as u64;
        assert_eq!(area.pages(&snapshot, PageState::Anonymous), 2 * pages - 8, "{runs:x?}");
        assert_eq!(area.pages(&snapshot, PageState::Zero), pages, "{runs:x?}");
    } else {
        eprintln!("not run whole: of two huge pages the kernel gave {given} bytes in huge entries");
    }
    assert_sums(&snapshot);
}

#[test]
fn a_reservation_of_terabytes_costs_no_time() {
    const SIZE: usize = 16 << 40;
    let area = Area::anonymous(SIZE);
    // So that it does not become one segment with its neighbours.
    area.advise(0, SIZE, libc::MADV_DONTDUMP);
    let child = Stopped::after(|| {
        area.write(0);
        area.write(2_000_000);
        area.write(SIZE / PAGE - 1);
    });
    let (pid, started) = (child.id(), processor_time());
    let snapshot = take(pid, pid, Moment::Live, true).unwrap();
    let took = processor_time() - started;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(area.pages(&snapshot, PageState::Anonymous), 3);

    let started = processor_time();
    let file = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let walked = pages::read_from(&file, None, &snapshot.segments).unwrap();
    let took = processor_time() - started;
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_sums_of(&snapshot.segments, &walked, "pagemap");
}

/// What this thread took of a processor: a busy machine does not count.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap()
}

#[test]
fn guards_are_no_pages() {
    const MADV_GUARD_INSTALL: i32 = 102;
    let area = Area::anonymous(16 * PAGE);
    // SAFETY: the mapping is fresh, nothing is lost.
    let result = unsafe { libc::madvise(area.page(4).cast(), 2 * PAGE, MADV_GUARD_INSTALL) };
    if result != 0 {
        eprintln!("this kernel has no guards");
        return;
    }
    let child = Stopped::after(|| {
        area.advise(4, 2 * PAGE, MADV_GUARD_INSTALL);
        area.write(0);
    });
    let snapshot = child.snapshot();
    assert_eq!(area.of(&snapshot).1.len(), 1);
    assert_sums(&snapshot);
}

#[test]
fn a_thread_whose_leader_has_exited() {
    let script = "import threading, ctypes, time\n\
        threading.Thread(target=lambda: time.sleep(100)).start()\n\
        print('ready', flush=True)\n\
        ctypes.CDLL(None).syscall(60, 0)\n";
    let Ok(mut child) = Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).spawn()
    else {
        eprintln!("not run: no python3");
        return;
    };
    let pid = child.id();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let is_zombie = || {
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat"))
            .is_ok_and(|stat| stat.contains(") Z "))
    };
    let started = Instant::now();
    while !is_zombie() && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let leader = take(pid, pid, Moment::Live, true);
    let other = std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|tid: &u32| *tid != pid)
        .unwrap();
    let thread = take(other, pid, Moment::Live, true);
    if let Ok(snapshot) = &thread {
        assert!(snapshot.peak_rss > 0);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(leader, Err(Error::NoMemory { .. })), "{leader:?}");
    assert!(!thread.unwrap().segments.is_empty());
}

#[test]
fn what_is_not_there_is_told_apart() {
    let never = take(4_194_304, 4_194_304, Moment::Live, true).unwrap_err();
    assert!(matches!(never, Error::Gone { .. }), "{never}");
    assert!(never.to_string().contains("/proc/4194304/task/4194304/smaps"), "{never}");
    let mut child = Command::new("true").spawn().unwrap();
    let started = Instant::now();
    let zombie = loop {
        let result = read_segments(child.id(), child.id());
        if result.is_err() || started.elapsed() > Duration::from_secs(10) {
            break result;
        }
    };
    child.wait().unwrap();
    assert!(matches!(zombie, Err(Error::NoMemory { .. })), "{zombie:?}");
    let reaped = read_segments(child.id(), child.id()).unwrap_err();
    assert!(matches!(reaped, Error::Gone { .. }) && reaped.is_gone(), "{reaped}");
}

#[test]
fn memory_that_was_given_up_is_no_memory() {
    let child = Stopped::after(|| ());
    let task = Task { pid: child.id(), tid: child.id() };
    assert!(has_memory(&task));
    kill(child.0, Signal::SIGKILL).unwrap();
    // It has exited, and nobody has reaped it.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    nix::sys::wait::waitid(nix::sys::wait::Id::Pid(child.0), flags).unwrap();
    assert!(!has_memory(&task));
    drop(child);
    assert!(!has_memory(&task));
}
