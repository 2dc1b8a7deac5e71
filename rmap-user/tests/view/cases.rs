//! Reports made by hand, for the golden files.

use std::collections::BTreeMap;

use rmap::report::{
    Address, BeforeAfter, Breakdown, Coverage, Curves, Exit, Frame, Gone, Host, Lost, MapCallKind,
    MappedBy, Mode, Path, Pattern, Probe, Process, Released, Report, SCHEMA, Segment, Session,
    SnapshotKind, Stack, StackId, Totals, Unexplained, Unwind,
};

const KIB: u64 = 1024;
const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";
const LOADER: &str = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// Every case by name.
pub fn all() -> Vec<(&'static str, Report)> {
    vec![
        ("article", article()),
        ("pipeline", pipeline()),
        ("hostile", hostile()),
        ("empty", empty()),
        ("residuals", residuals()),
    ]
}

fn frame(function: &str, module: &str, offset: u64) -> Frame {
    Frame {
        function: Some(function.to_owned()),
        module: module.to_owned(),
        build_id: Some("6f0d1e2c".to_owned()),
        offset: Address(offset),
        ..Frame::default()
    }
}

fn source(function: &str, module: &str, offset: u64, file: &str, line: u32) -> Frame {
    Frame { file: Some(file.to_owned()), line: Some(line), ..frame(function, module, offset) }
}

/// With libc's start-up code behind the frames.
fn started(id: u32, frames: Vec<Frame>, module: &str) -> Stack {
    let mut frames = frames;
    frames.extend([
        frame("__libc_start_call_main", LIBC, 0x2724a),
        frame("__libc_start_main_impl", LIBC, 0x27305),
        frame("_start", module, 0x10a1),
    ]);
    Stack { id: StackId(id), complete: true, frames: frames.into() }
}

fn to(after_kib: u64) -> BeforeAfter {
    BeforeAfter { before: 0, after: after_kib * KIB }
}

/// Sizes are KiB.
fn segment(start: u64, perms: &str, name: &str, [size, rss, dirty]: [u64; 3]) -> Segment {
    Segment {
        start: Address(start),
        end: Address(start + size * KIB),
        perms: perms.to_owned(),
        offset: 0,
        device: if name.starts_with('/') { "fe:00" } else { "00:00" }.to_owned(),
        inode: if name.starts_with('/') { 131_077 } else { 0 },
        name: name.to_owned(),
        size_bytes: size * KIB,
        rss_bytes: to(rss),
        dirty_bytes: to(dirty),
        swap_bytes: to(0),
        ..Segment::default()
    }
}

impl Shape for Segment {}

/// Small changes to a segment.
trait Shape: Into<Segment> {
    fn pattern(self, pattern: Pattern) -> Segment {
        Segment { pattern: Some(pattern.into()), ..self.into() }
    }

    /// Sizes are KiB.
    fn path(self, stack: Option<StackId>, cause: &str, [rss, dirty]: [u64; 2]) -> Segment {
        let mut segment = self.into();
        segment.paths.push(Path {
            stack,
            cause: cause.into(),
            rss_bytes: rss * KIB,
            dirty_bytes: dirty * KIB,
            touched_bytes: rss * KIB,
            faults: rss.div_ceil(4),
            first_ns: 210_000,
            last_ns: 940_000,
            tids: vec![4711],
            retained_bytes: None,
            growth: None,
            rewrites: 0,
            rewritten_bytes: 0,
        });
        segment
    }

    /// Sizes are KiB.
    fn rest(self, reason: &str, [rss, dirty]: [i64; 2]) -> Segment {
        let mut segment = self.into();
        segment.unexplained.push(Unexplained {
            reason: reason.into(),
            rss_bytes: rss * 1024,
            dirty_bytes: dirty * 1024,
            candidates: Vec::new(),
        });
        segment
    }
}

fn process(pid: u32, command: &str, exe: &str, segments: Vec<Segment>) -> Process {
    let sum = |size: fn(&Segment) -> BeforeAfter| BeforeAfter {
        before: segments.iter().map(|s| size(s).before).sum(),
        after: segments.iter().map(|s| size(s).after).sum(),
    };
    let rss_bytes = sum(|s| s.rss_bytes);
    Process {
        pid,
        parent_pid: 4700,
        command: command.to_owned(),
        exe: exe.to_owned(),
        started_ns: 0,
        ended_ns: Some(1_230_000),
        snapshot: SnapshotKind::AtExit,
        snapshot_ns: Some(1_230_000),
        rss_bytes,
        dirty_bytes: sum(|s| s.dirty_bytes),
        swap_bytes: sum(|s| s.swap_bytes),
        breakdown: Breakdown::default(),
        threads: Vec::new(),
        peak_rss_bytes: rss_bytes.after,
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
    }
}

fn report(command: &[&str], processes: Vec<Process>, stacks: Vec<Stack>) -> Report {
    let probe = |name: &str| Probe { name: name.to_owned(), attached: true, why_not: None };
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        rmap_version: "0.1.0".to_owned(),
        host: Host {
            kernel: "6.18.5".to_owned(),
            arch: "x86_64".to_owned(),
            page_bytes: 4096,
            cpus: 2,
        },
        session: Session {
            mode: Mode::Run,
            command: Some(command.iter().map(|&word| word.to_owned()).collect()),
            pids: processes.first().map(|process| process.pid).into_iter().collect(),
            started_at: "2026-01-02T03:04:05.678Z".to_owned(),
            duration_ns: 1_234_567,
            at_ns: None,
            exit: Some(Exit::Code(0)),
            notes: Vec::new(),
            peak: None,
            window: None,
            marks: Vec::new(),
            rewrites: None,
        },
        totals: Totals::default(),
        oom: Vec::new(),
        coverage: Coverage {
            probes: vec![
                probe("tp_btf:page_fault_user"),
                probe("tp_btf:rss_stat"),
                probe("perf:page-faults-min"),
            ],
            lost: Lost::default(),
            unwind: Unwind { complete: 142, ..Unwind::default() },
            packages: Vec::new(),
        },
        cgroup: None,
        processes,
        stacks,
    };
    rmap::insight::naming::name_segments(&mut report);
    report
}

/// Text, data and libraries of a small program; stacks 90 to 93.
fn program(exe: &str) -> Vec<Segment> {
    vec![
        segment(0x5555_5555_4000, "r--p", exe, [4, 4, 0]).path(None, "exec", [4, 0]),
        segment(0x5555_5555_5000, "r-xp", exe, [4, 4, 0]).path(
            Some(StackId(90)),
            "file-read",
            [4, 0],
        ),
        segment(0x5555_5555_7000, "rw-p", exe, [8, 8, 8]).pattern(Pattern::Written).path(
            Some(StackId(91)),
            "file-cow",
            [8, 8],
        ),
        segment(0x7fff_f7c0_0000, "r-xp", LIBC, [1480, 1012, 0])
            .pattern(Pattern::ReadMostly)
            .path(Some(StackId(90)), "file-read", [948, 0])
            .path(Some(StackId(93)), "file-read", [64, 0]),
        segment(0x7fff_f7fc_8000, "r-xp", "[vdso]", [8, 0, 0]),
        segment(0x7fff_f7fd_5000, "r-xp", LOADER, [148, 148, 0]).pattern(Pattern::ReadMostly).path(
            None,
            "exec",
            [148, 0],
        ),
        segment(0x7fff_fffd_e000, "rw-p", "[stack]", [132, 12, 12])
            .pattern(Pattern::Reserved)
            .path(None, "exec", [8, 8])
            .path(Some(StackId(92)), "stack-growth", [4, 4]),
    ]
}

fn program_stacks(exe: &str) -> Vec<Stack> {
    let loader = |id: u32, names: &[&str]| Stack {
        id: StackId(id),
        complete: true,
        frames: names.iter().map(|name| frame(name, LOADER, 0x1_0000)).collect(),
    };
    vec![
        loader(90, &["_dl_relocate_object", "dl_main", "_dl_sysdep_start", "_dl_start", "_start"]),
        loader(
            91,
            &["elf_dynamic_do_Rela", "_dl_relocate_object", "dl_main", "_dl_start", "_start"],
        ),
        started(92, vec![frame("__vfprintf_internal", LIBC, 0x5_55e0)], exe),
        started(
            93,
            vec![frame("puts", LIBC, 0x7_7e40), source("main", exe, 0x11c4, "demo.c", 15)],
            exe,
        ),
    ]
}

/// The program of many articles on `pmap`: malloc of 60 KiB, memset, strcpy.
pub fn article() -> Report {
    let exe = "/tmp/demo";
    let mut segments = program(exe);
    let heap = segment(0x5555_5557_9000, "rw-p", "[heap]", [132, 64, 64])
        .pattern(Pattern::Reserved)
        .path(Some(StackId(1)), "first-write", [56, 56])
        .path(Some(StackId(2)), "first-write", [4, 4])
        .path(Some(StackId(3)), "first-write", [4, 4]);
    let heap = Segment {
        mapped_by: Some(MappedBy {
            call: MapCallKind::Brk.into(),
            stack: Some(StackId(3)),
            pid: 4711,
            tid: 4711,
            at_ns: 205_000,
        }),
        ..heap
    };
    segments.insert(3, heap);
    let mut stacks = vec![
        started(
            1,
            vec![
                frame("__memset_avx2_unaligned_erms", LIBC, 0x16_b1c0),
                source("main", exe, 0x1189, "demo.c", 12),
            ],
            exe,
        ),
        started(
            2,
            vec![
                frame("__memset_avx2_unaligned_erms", LIBC, 0x16_b1c0),
                source("main", exe, 0x119c, "demo.c", 14),
            ],
            exe,
        ),
        started(
            3,
            vec![
                frame("sysmalloc", LIBC, 0x9_8a10),
                frame("_int_malloc", LIBC, 0x9_9b20),
                frame("malloc", LIBC, 0x9_a4f0),
                source("main", exe, 0x117a, "demo.c", 11),
            ],
            exe,
        ),
    ];
    stacks.extend(program_stacks(exe));
    let mut process = process(4711, "/tmp/demo", exe, segments);
    process.peak_rss_bytes += 16 * KIB;
    process.released =
        vec![Released { stack: Some(StackId(91)), how: "munmap".into(), rss_bytes: 12 * KIB }];
    process.gone = vec![Gone {
        stack: Some(StackId(90)),
        cause: "file-read".into(),
        touched_bytes: 12 * KIB,
        segments: 1,
    }];
    report(&["/tmp/demo"], vec![process], stacks)
}

/// A shell and the three commands that it runs, and one that was too quick.
pub fn pipeline() -> Report {
    let awk = "/usr/bin/mawk";
    let sort = "/usr/bin/sort";
    let frames = |names: &[&str], module: &str| -> Vec<Frame> {
        names.iter().zip(1..).map(|(name, n)| frame(name, module, 0x4000 + 16 * n)).collect()
    };
    let deep = [
        "__memmove_avx_unaligned_erms",
        "mergelines",
        "sequential_sort",
        "sequential_sort",
        "sequential_sort",
        "sortlines",
        "sort",
        "main",
    ];
    let mut stacks = vec![
        started(1, frames(&deep, sort), sort),
        started(
            2,
            frames(&["_IO_file_xsgetn", "fread_unlocked", "fillbuf", "sort", "main"], sort),
            sort,
        ),
        started(3, frames(&["new_STRING0", "collect_RE", "yylex", "yyparse", "main"], awk), awk),
        Stack {
            id: StackId(4),
            complete: false,
            frames: frames(&["__memset_evex_unaligned"], LIBC).into(),
        },
    ];
    stacks.extend(program_stacks(sort));

    let mut sorted = program(sort);
    sorted.insert(
        3,
        segment(0x7fff_e000_0000, "rw-p", "", [1_048_576, 786_432, 786_000])
            .pattern(Pattern::Growing)
            .path(Some(StackId(1)), "huge-page", [700_000, 700_000])
            .path(Some(StackId(2)), "kernel-write", [86_000, 86_000])
            .path(Some(StackId(4)), "first-write", [432, 0]),
    );
    sorted.insert(
        3,
        segment(0x5555_5557_9000, "rw-p", "[heap]", [132, 8, 8]).path(
            Some(StackId(2)),
            "first-write",
            [8, 8],
        ),
    );
    let mut awked = program(awk);
    awked.insert(
        3,
        segment(0x5555_5557_9000, "rw-p", "[heap]", [264, 200, 200])
            .pattern(Pattern::Written)
            .path(Some(StackId(3)), "first-write", [200, 200]),
    );
    let shell = process(
        4711,
        "sh -c mawk '{print $1}' big.txt | sort | uniq -c",
        "/usr/bin/dash",
        program("/usr/bin/dash"),
    );
    let quick = Process {
        snapshot: SnapshotKind::None,
        snapshot_ns: None,
        peak_rss_bytes: 0,
        parent_pid: 4711,
        gone: vec![Gone {
            stack: Some(StackId(90)),
            cause: "file-read".into(),
            touched_bytes: 4 * KIB,
            segments: 3,
        }],
        ..process(4712, "true", "/usr/bin/true", Vec::new())
    };
    let child = |pid, command, exe, segments| Process {
        parent_pid: 4711,
        ..process(pid, command, exe, segments)
    };
    let processes = vec![
        shell,
        quick,
        child(4713, "mawk {print $1} big.txt", awk, awked),
        child(4714, "sort", sort, sorted),
        child(4715, "uniq -c", "/usr/bin/uniq", program("/usr/bin/uniq")),
    ];
    let mut report =
        report(&["sh", "-c", "mawk '{print $1}' big.txt | sort | uniq -c"], processes, stacks);
    report.session.duration_ns = 2_345_678_901;
    report
}

/// Names that try to fool the terminal and the reader.
pub fn hostile() -> Report {
    let long = format!("/tmp/{}/lib.so", "x".repeat(4080));
    let segments = vec![
        segment(0x1000, "rw-s", "/tmp/a\ntotal kB 0 0 0", [8, 8, 8]).path(
            Some(StackId(1)),
            "shared-write",
            [8, 8],
        ),
        segment(0x4000, "rw-p", "/tmp/\x1b[2J\x1b[31mred\x07 (deleted)", [4, 4, 4]).path(
            Some(StackId(2)),
            "first-write",
            [4, 4],
        ),
        segment(0x6000, "rw-p", &long, [4, 4, 4]).path(Some(StackId(3)), "first-write", [4, 4]),
        segment(0x8000, "rw-p", "/tmp/\u{202e}os.live\u{2066}\u{200b}", [4, 4, 4]).path(
            Some(StackId(99)),
            "a\tcause\r\n",
            [4, 4],
        ),
        segment(0xa000, "rw-p", "/tmp/\u{5e9}\u{5dc}\u{5d5}\u{5dd}", [4, 4, 0])
            .rest("odd\u{1b}reason", [4, 0]),
        segment(0xc000, "rw-p", "/tmp/日本語の名前/ライブラリ.so", [4, 4, 4]).path(
            Some(StackId(4)),
            "first-write",
            [4, 4],
        ),
        segment(0xe000, "r\x1b-p", "[anon:z\u{301}\u{301}\u{301}\u{301}]", [4, 0, 0]),
    ];
    let stacks = vec![
        Stack {
            id: StackId(1),
            complete: true,
            frames: vec![frame("a\nb", "/tmp/\x1b]0;x\x07", 1)].into(),
        },
        Stack {
            id: StackId(2),
            complete: false,
            frames: vec![Frame {
                module: "/tmp/evil\n.so".into(),
                offset: Address(0x12),
                ..Frame::default()
            }]
            .into(),
        },
        Stack {
            id: StackId(3),
            complete: true,
            frames: vec![
                frame(
                    &format!("std::vector<{}>::push_back", "std::pair<int, ".repeat(300)),
                    "/tmp/x",
                    2,
                ),
                source("main", "/tmp/x", 3, "/src/\u{202e}c.niam\n", 7),
            ]
            .into(),
        },
        Stack {
            id: StackId(4),
            complete: true,
            frames: vec![frame("日本語の関数", "/tmp/x", 4)].into(),
        },
    ];
    let mut report = report(
        &["/tmp/evil\x1b[0m", "a b", "", "it's\n"],
        vec![process(7, "/tmp/evil\x1b[0m a b\n", "/tmp/evil", segments)],
        stacks,
    );
    report.host.kernel = "6.18\n".to_owned();
    report.session.exit = Some(Exit::Signal("SIG\x1bKILL".to_owned()));
    report.coverage.probes[1] = Probe {
        name: "tp:\x07bell".to_owned(),
        attached: false,
        why_not: Some("line one\nline two".to_owned()),
    };
    report
}

/// A command that could not be looked at.
pub fn empty() -> Report {
    let process = Process {
        snapshot: SnapshotKind::None,
        snapshot_ns: None,
        peak_rss_bytes: 0,
        ..process(4711, "true", "/usr/bin/true", Vec::new())
    };
    let mut report = report(&["true"], vec![process], Vec::new());
    report.coverage.unwind = Unwind::default();
    report
}

/// Attached late, with losses, a probe that is refused, and more attributed than there is.
pub fn residuals() -> Report {
    let exe = "/usr/sbin/server";
    let mut segments = program(exe);
    let mut heap = segment(0x5555_5557_9000, "rw-p", "[heap]", [8192, 8000, 7900])
        .pattern(Pattern::Growing)
        .path(Some(StackId(1)), "first-write", [3000, 3000])
        .rest("before-attach", [5000, 4850])
        .rest("lost-events", [0, 50]);
    heap.rss_bytes.before = 5000 * KIB;
    heap.dirty_bytes.before = 4900 * KIB;
    heap.swap_bytes = BeforeAfter { before: 0, after: 128 * KIB };
    segments.insert(3, heap);
    let mut data =
        segment(0x7fff_e000_0000, "rw-s", "/var/lib/server/pages.db", [65536, 40000, 8192])
            .path(Some(StackId(2)), "shared-write", [40000, 4096])
            .path(Some(StackId(3)), "page-cache-write", [0, 1024])
            .rest("large-folio", [0, 3200])
            .rest("shared-write-without-fault", [0, -128]);
    data.rss_bytes.before = 44_000 * KIB;
    segments.insert(3, data);
    segments.push(segment(0x7fff_ffff_f000, "rw-p", "", [4, 0, 0]).rest("unknown", [0, 0]));
    let mut stacks = vec![
        started(
            1,
            vec![
                frame("_int_malloc", LIBC, 0x9_9b20),
                frame("malloc", LIBC, 0x9_a4f0),
                Frame {
                    inlined: true,
                    ..source("Pool::grow", exe, 0x5210, "/src/server/pool.cc", 88)
                },
                source("Pool::take(unsigned long)", exe, 0x5210, "/src/server/pool.cc", 41),
                source("serve(Connection&)", exe, 0x7718, "/src/server/serve.cc", 230),
                source("main", exe, 0x1a40, "/src/server/main.cc", 65),
            ],
            exe,
        ),
        Stack {
            id: StackId(2),
            complete: false,
            frames: vec![
                frame("__memmove_avx_unaligned_erms", LIBC, 0x16_a2c0),
                Frame { module: exe.to_owned(), offset: Address(0x9f20), ..Frame::default() },
            ]
            .into(),
        },
        started(3, vec![frame("__write", LIBC, 0xf_78e0), frame("flush", exe, 0x8800)], exe),
    ];
    stacks.extend(program_stacks(exe));
    let mut process = process(812, "/usr/sbin/server --port 80", exe, segments);
    process.ended_ns = None;
    process.snapshot = SnapshotKind::Live;
    process.parent_pid = 1;
    process.released = vec![
        Released { stack: None, how: "reclaim".into(), rss_bytes: 4000 * KIB },
        Released { stack: Some(StackId(3)), how: "dontneed".into(), rss_bytes: 64 * KIB },
    ];
    // A mapping that was there when rmap came is gone.
    process.rss_bytes.before += 640 * KIB;
    process.dirty_bytes.before += 512 * KIB;
    process.gone = (1_u64..=8)
        .map(|n| Gone {
            stack: Some(StackId(1)),
            cause: "first-write".into(),
            touched_bytes: n * 400 * KIB,
            segments: n,
        })
        .collect();
    let mut report = report(&[], vec![process], stacks);
    report.session.mode = Mode::Attach;
    report.session.command = None;
    report.session.exit = None;
    report.session.duration_ns = 10_000_000_000;
    report.coverage.lost = Lost { events: 12, stacks: 1, snapshots: 0 };
    report.coverage.unwind = Unwind {
        complete: 9_990,
        incomplete: 10,
        reasons: BTreeMap::from([("no-row".to_owned(), 7), ("truncated".to_owned(), 3)]),
        ..Unwind::default()
    };
    report.coverage.probes.push(Probe {
        name: "tp_btf:mm_khugepaged_collapse".to_owned(),
        attached: false,
        why_not: Some(
            "the kernel has no such tracepoint; collapsed pages stay with the code path that \
             touched them first"
                .to_owned(),
        ),
    });
    report
}
