use super::*;
use crate::insight::samples;
use crate::report::{Address, Curves, MappedBy, Path, SnapshotKind, Stack, Thread};

/// A segment of so many KiB.
fn segment(start: u64, kib: u64, perms: &str, name: &str) -> Segment {
    let inode = if name.starts_with('/') { 7 } else { 0 };
    let range = start..start + (kib << 10);
    Segment { perms: perms.into(), inode, ..Segment::of_addresses(&range, name) }
}

fn flags(segment: Segment, flags: &str) -> Segment {
    Segment { vm_flags: flags.into(), ..segment }
}

/// Made by mmap with the stack of this id.
fn made(segment: Segment, stack: u32) -> Segment {
    let by = MappedBy {
        call: MapCallKind::Mmap.into(),
        stack: Some(StackId(stack)),
        pid: 1,
        tid: 1,
        at_ns: 0,
    };
    Segment { mapped_by: Some(by), ..segment }
}

/// The stack of this id: `function module` from the innermost frame on, `?` for no function.
fn stack(id: u32, frames: &[&str]) -> Stack {
    let frame = |text: &&str| {
        let (function, module) = text.split_once(' ').unwrap();
        let function = Some(function.to_owned()).filter(|name| name != "?");
        Frame { function, module: module.to_owned(), ..Frame::default() }
    };
    Stack { id: StackId(id), complete: true, frames: frames.iter().map(frame).collect() }
}

/// The kind of each segment with its label, a `?` behind what is inferred.
fn named(segments: Vec<Segment>, threads: Vec<Thread>, stacks: Vec<Stack>) -> Vec<String> {
    let process = Process {
        pid: 1,
        parent_pid: 0,
        command: String::new(),
        exe: String::new(),
        started_ns: 0,
        ended_ns: None,
        snapshot: SnapshotKind::Live,
        snapshot_ns: None,
        rss_bytes: Default::default(),
        dirty_bytes: Default::default(),
        swap_bytes: Default::default(),
        breakdown: Default::default(),
        threads,
        peak_rss_bytes: 0,
        peak: None,
        window: None,
        timeline: Vec::new(),
        growth: Vec::new(),
        curves: Curves::default(),
        segments,
        gone: Vec::new(),
        released: Vec::new(),
        trim_would_return_bytes: None,
        malloc: None,
    };
    let frames = stacks.iter().map(|stack| (stack.id, &stack.frames[..])).collect();
    findings(&process, &frames)
        .into_iter()
        .map(|finding| {
            let label = finding.label.map(|label| format!(" {label}")).unwrap_or_default();
            format!("{}{label}{}", finding.kind.as_str(), if finding.inferred { "?" } else { "" })
        })
        .collect()
}

/// Of one segment alone.
fn alone(segment: Segment, stacks: Vec<Stack>) -> String {
    named(vec![segment], Vec::new(), stacks).remove(0)
}

const LIBC: &str = "/usr/lib/libc.so.6";

#[test]
fn the_kernel_names_kinds_for_sure() {
    let cases = [
        ("rw-p", "[heap]", "rd wr", "heap"),
        ("rw-p", "[stack]", "rd wr gd", "stack"),
        ("r--p", "[vvar]", "rd pf io", "vdso"),
        ("r-xp", "/bin/x", "rd ex", "file code"),
        ("rw-p", "/bin/x", "rd wr ac", "file data"),
        ("r--p", "/bin/x", "rd mw", "file read-only"),
        ("r--p", "/bin/x", "rd mw ac", "relro"),
        ("rw-s", "/tmp/x", "rd wr sh", "file shared"),
        ("r--s", "/tmp/x", "rd sh", "file read-only"),
        ("rw-s", "/anon_hugepage (deleted)", "rd wr ht", "huge"),
        ("rw-p", "/mnt/huge/x", "rd wr ht", "huge"),
        ("rw-s", "anon_inode:[io_uring]", "rd wr sh", "device"),
        ("rw-s", "/dev/dri/card0", "rd wr sh io", "device"),
        ("rw-s", "/dev/shm/x", "rd wr sh", "shared memory"),
        ("rw-s", "/memfd:pool (deleted)", "rd wr sh", "memfd [memfd pool]"),
        ("rw-s", "/dev/zero (deleted)", "rd wr sh", "shared memory [shared memory]"),
        ("rw-s", "/SYSV0000002a (deleted)", "rd wr sh", "shared memory [SysV 0x0000002a]"),
        ("rw-p", "[anon:pool of requests]", "rd wr", "anonymous"),
        ("rw-p", "[anon: Go: heap]", "rd wr", "go arena [anon: Go: heap]"),
        ("rw-p", "[anon: glibc: pthread stack: 42]", "rd wr", "thread stack [thread stack 42]"),
        ("---p", "", "mr mw", "no access"),
        ("rwxp", "", "rd wr ex", "jit code [jit code]"),
        ("rw-p", "", "rd wr", "anonymous"),
    ];
    for (perms, name, vm_flags, expected) in cases {
        let got = alone(flags(segment(0x1000, 4, perms, name), vm_flags), Vec::new());
        assert_eq!(got, expected, "{perms} {name} {vm_flags}");
    }
}

#[test]
fn arenas_are_known_by_who_made_them_and_else_by_their_shape() {
    let at = 0x7f00_0000_0000;
    let arenas = |stack: Option<u32>| {
        let part = |start, kib| {
            let part = segment(start, kib, "rw-p", "");
            stack.map_or_else(|| part.clone(), |id| made(part.clone(), id))
        };
        vec![
            part(at, 132),
            segment(at + (132 << 10), (64 << 10) - 132, "---p", ""),
            part(at + (128 << 20), 1024),
            segment(at + (129 << 20), 63 << 10, "---p", ""),
        ]
    };
    let shown = ["malloc arena [malloc arena 1]", "no access", "malloc arena [malloc arena 2]"];
    let by_names = vec![stack(1, &["mmap /lib/libc.so.6", "new_heap.part.0 /lib/libc.so.6"])];
    assert_eq!(named(arenas(Some(1)), Vec::new(), by_names)[..3], shown);
    let stripped =
        vec![stack(1, &["mmap /lib/libc.so.6", "? /lib/libc.so.6", "malloc /lib/libc.so.6"])];
    assert_eq!(named(arenas(Some(1)), Vec::new(), stripped)[..3], shown);
    let marked =
        shown.map(|name| if name == "no access" { name.into() } else { format!("{name}?") });
    assert_eq!(named(arenas(None), Vec::new(), Vec::new())[..3], marked);
    // Of another size, or at another place, it is no arena.
    assert_eq!(alone(segment(at + 4096, 132, "rw-p", ""), Vec::new()), "anonymous");
    assert_eq!(alone(segment(at, 132, "rw-p", ""), Vec::new()), "anonymous");
    assert_eq!(alone(segment(at, 768 << 10, "rw-p", ""), Vec::new()), "anonymous");
}

/// A path of these threads.
fn written_by(bytes: u64, tids: Vec<u32>) -> Vec<Path> {
    vec![Path { stack: None, tids, ..samples::path(0, "first-write", bytes, bytes) }]
}

#[test]
fn stacks_are_those_of_the_threads_that_run_on_them() {
    let at = 0x7f00_0000_0000_u64;
    let guarded =
        |stack| vec![segment(at, 4, "---p", ""), made(segment(at + 4096, 8188, "rw-p", ""), stack)];
    let thread = |tid, pointer: Option<u64>| Thread {
        tid,
        name: "worker".into(),
        stack_pointer: pointer.map(Address),
    };
    let inside = Some(at + (8 << 20) - 64);
    let by_create = || {
        vec![stack(
            1,
            &["mmap /lib/libc.so.6", "pthread_create@@GLIBC_2.34 /lib/libc.so.6", "main /bin/x"],
        )]
    };
    let named = |segments, threads, stacks| named(segments, threads, stacks).pop().unwrap();
    let sure = "thread stack [thread stack 9 \"worker\"]";
    assert_eq!(named(guarded(1), vec![thread(9, inside)], by_create()), sure);
    // Nobody saw who made it: the thread on it is enough.
    assert_eq!(named(guarded(2), vec![thread(9, inside)], Vec::new()), sure);
    // Its thread has ended; who wrote it is the likeliest.
    let mut written = guarded(1);
    written[1].paths = written_by(4096, vec![9]);
    assert_eq!(named(written, vec![thread(9, None)], by_create()), format!("{sure}?"));
    assert_eq!(named(guarded(1), Vec::new(), by_create()), "thread stack [thread stack]");
    let unseen = vec![segment(at, 4, "---p", ""), segment(at + 4096, 8188, "rw-p", "")];
    assert_eq!(named(unseen, Vec::new(), Vec::new()), "thread stack [thread stack]?");
    let two = vec![thread(9, inside), thread(10, Some(at + 8192))];
    assert_eq!(named(guarded(1), two, by_create()), "thread stack [2 thread stacks]");
    // The kernel has joined it with an allocator's memory, which the first thread has filled.
    let mut joined = guarded(1);
    joined[1].rss_bytes.after = 1 << 20;
    joined[1].paths = written_by(1 << 20, vec![1]);
    assert_eq!(named(joined.clone(), vec![thread(9, inside)], by_create()), "anonymous?");
    let mut allocator = segment(at - (1 << 20), 4, "r-xp", "/usr/lib/libjemalloc.so.2");
    allocator.inode = 1;
    joined.insert(0, allocator);
    let found = named(joined.clone(), vec![thread(9, inside)], by_create());
    assert_eq!(found, "malloc arena [jemalloc]?");
    joined[2].paths = written_by(1 << 20, vec![9]);
    assert_eq!(named(joined, vec![thread(9, inside)], by_create()), sure);
}

#[test]
fn runtimes_are_known_by_the_functions_that_map_their_memory() {
    let cases: &[(&str, &[&str], &str)] = &[
        ("", &["mmap LIBC", "_PyMem_ArenaAlloc /usr/bin/python3.13"], "pymalloc [pymalloc]"),
        (
            "",
            &["mmap LIBC", "? /usr/bin/python3.13", "? /usr/bin/python3.13"],
            "pymalloc [pymalloc]?",
        ),
        (
            "",
            &[
                "mmap LIBC",
                "os::reserve_memory /jre/libjvm.so",
                "ReservedHeapSpace::init /jre/libjvm.so",
            ],
            "java heap [java heap]",
        ),
        ("", &["mmap LIBC", "? /jre/libjvm.so"], "java heap [java heap]?"),
        (
            "",
            &["mmap LIBC", "v8::internal::MemoryAllocator::Allocate /usr/bin/node"],
            "v8 space [v8 space]",
        ),
        (
            "",
            &["runtime.mmap /bin/go-program", "runtime.(*mheap).sysAlloc /bin/go-program"],
            "go arena [go arena]",
        ),
        (
            "",
            &["runtime.mmap /bin/go-program", "runtime.sysAllocOS /bin/go-program"],
            "anonymous [go runtime]",
        ),
        ("", &["mmap LIBC", "? /lib/libjemalloc.so.2", "main /bin/x"], "malloc arena [jemalloc]"),
        ("", &["mmap LIBC", "_rjem_je_pages_map /bin/x"], "malloc arena [jemalloc]"),
        ("", &["mmap LIBC", "? LIBC", "malloc LIBC", "main /bin/x"], "malloc block [malloc block]"),
        ("", &["mmap LIBC", "main /bin/x"], "anonymous"),
        ("x", &["mmap LIBC", "? /jre/libjvm.so"], "jit code [java code]"),
        ("x", &["mmap LIBC", "emit /bin/x"], "jit code [jit code, by emit]"),
    ];
    for (exec, frames, expected) in cases {
        let frames: Vec<String> = frames.iter().map(|frame| frame.replace("LIBC", LIBC)).collect();
        let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
        let perms = if exec.is_empty() { "rw-p" } else { "rwxp" };
        let memory = made(segment(0x1000, 1024, perms, ""), 1);
        assert_eq!(alone(memory, vec![stack(1, &frames)]), *expected, "{frames:?}");
    }
    let heap = segment(0xc0_0000_0000, 4096, "rw-p", "");
    assert_eq!(alone(heap, Vec::new()), "go arena [go arena]?");
}

#[test]
fn shared_memory_is_named_by_who_made_it() {
    let of = |name, frames: &[&str]| {
        alone(made(segment(0x1000, 64, "rw-s", name), 1), vec![stack(1, frames)])
    };
    let by = ["mmap64 /lib/libc.so.6", "make_pool /bin/x", "main /bin/x"];
    assert_eq!(of("/memfd:pool (deleted)", &by), "memfd [memfd pool, by make_pool]");
    assert_eq!(of("/dev/zero (deleted)", &by), "shared memory [shared memory, by make_pool]");
}

#[test]
fn a_copy_by_fork_is_not_named_by_who_forked() {
    let mut copy = made(segment(0x1000, 1024, "rw-p", ""), 1);
    copy.mapped_by.as_mut().unwrap().call = MapCallKind::Fork.into();
    let by = vec![stack(1, &["fork /lib/libc.so.6", "malloc /lib/libc.so.6"])];
    assert_eq!(alone(copy, by), "anonymous");
}

#[test]
fn what_follows_the_data_of_a_file_is_its_bss() {
    let data = segment(0x1000, 4, "rw-p", "/bin/x");
    let bss = segment(0x2000, 8, "rw-p", "");
    let both = |bss, stacks| named(vec![data.clone(), bss], Vec::new(), stacks).pop().unwrap();
    assert_eq!(both(bss.clone(), Vec::new()), "bss [bss of x]?");
    let loader = vec![stack(1, &["mmap64 /lib64/ld-linux-x86-64.so.2"])];
    assert_eq!(both(made(bss.clone(), 1), loader), "bss [bss of x]");
    let mut by_exec = made(bss, 1);
    by_exec.mapped_by.as_mut().unwrap().call = MapCallKind::Exec.into();
    assert_eq!(both(by_exec, vec![stack(1, &["execve /lib/libc.so.6"])]), "bss [bss of x]");
    assert_eq!(both(segment(0x3000, 8, "rw-p", ""), Vec::new()), "anonymous");
}
