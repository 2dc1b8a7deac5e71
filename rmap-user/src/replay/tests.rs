use proptest::prelude::*;

use super::*;
use crate::model::Arch;
use crate::recording::codec::{Batch, Unbatch};
use crate::recording::{Recorder, frame};
use crate::report::{Cgroup, Exit, Host, Mode};
use crate::session::modules::NoBinaries;
use crate::trace::{
    Access, Body, Code, Delta, Entry, Event, Fault, FileChange, FileId, Fork, Losses, MapCall,
    Missing, MissingPages, MmId, MmKey, Moment, PageKind, PageRun, PageState, ProcessFacts, Rss,
    Segment, Snapshot, Stack, StackEnd, StackHash, VmFlags,
};

fn opening() -> Opening {
    Opening {
        rmap_version: "0".into(),
        mode: Mode::Run,
        host: Host { arch: "x86_64".into(), page_bytes: 4096, ..Host::default() },
        started_ns: 1000,
        started_at: "2026-01-01T00:00:00Z".into(),
        command: Some(vec!["prog".into()]),
        pids: Vec::new(),
    }
}

fn event(time_ns: u64, body: Body) -> Input {
    Input::Event(Event { time_ns, pid: 7, tid: 7, mm: MmId(0xffff_8880_0000_1000), body })
}

fn fault(time_ns: u64, address: u64) -> Input {
    event(
        time_ns,
        Body::Fault(Fault {
            address,
            kernel: false,
            major: false,
            access: Some(Access { present: false, write: true, instruction: false }),
            delta: Delta { anon: Some(1), ..Delta::default() },
            delta_inexact: false,
            entry: Some(Entry {
                huge: false,
                dirty: true,
                window: Some(1 << ((address >> 12) & 15)),
            }),
            same_page: Some((address >> 24) & 1 == 0),
            rewrite: None,
            syscall: None,
            stack: Some(StackHash(99)),
        }),
    )
}

fn segment(start: u64, end: u64, size: u64) -> Segment {
    let perms = "rw-p".to_owned();
    Segment { start, end, perms, rss: size, dirty: size, ..Segment::default() }
}

/// A process that maps and fills 256 pages.
fn session() -> Vec<Input> {
    let base = 0x7000_0000;
    let mut inputs = vec![
        event(1010, Body::Exec { old_tid: 7 }),
        Input::Process(7, ProcessFacts { command: "prog".into(), ..ProcessFacts::default() }),
        event(
            1020,
            Body::Stack(Stack {
                hash: StackHash(99),
                end: StackEnd::Complete,
                ips: vec![0x40_1000, 0x40_2000],
            }),
        ),
        event(
            1030,
            Body::Map(MapCall {
                syscall: 9,
                entry: false,
                result: base as i64,
                args: [0, 256 << 12, 3, 0x22, u64::MAX, 0],
                stack: Some(StackHash(99)),
                file: None,
            }),
        ),
    ];
    inputs.extend((0..256).map(|page| fault(2000 + page * 300, base + (page << 12))));
    inputs.push(Input::Lost(Losses::default()));
    inputs.push(Input::Written(MmKey(0), b"7000 10 made\n".to_vec()));
    let kind = PageKind {
        state: PageState::Anonymous,
        huge: false,
        folio_dirty: None,
        large_folio: Some(false),
        entry_dirty: Some(true),
    };
    inputs.push(Input::Snapshot(Snapshot {
        time_ns: 90_000,
        pid: 7,
        moment: Moment::AtExit,
        segments: vec![segment(base, base + (256 << 12), 256 << 12)],
        pages: Some(vec![PageRun { range: base..base + (256 << 12), kind }]),
        folios: vec![base..base + (16 << 12), base + (32 << 12)..base + (64 << 12)],
        threads: Vec::new(),
        peak_rss: 1 << 20,
    }));
    inputs.push(event(90_100, Body::Exit { group_dead: true, code: 0 }));
    inputs
}

fn others() -> Vec<Input> {
    vec![
        event(
            5,
            Body::Fork(Fork {
                child_pid: 8,
                child_tid: 8,
                child_mm: MmId(5),
                thread: false,
                same_mm: true,
                stack: None,
            }),
        ),
        event(
            6,
            Body::Rss(Rss {
                actor: Some(MmId(6)),
                owner: Some(8),
                member: 1,
                syscall: Some(0),
                request: u64::MAX,
                ranges: vec![(1, u64::MAX), (4096, 5)],
                more: true,
                stack: None,
            }),
        ),
        event(
            6,
            Body::Map(MapCall {
                syscall: 9,
                entry: false,
                result: 0x7000,
                args: [0, 4096, 1, 2, 3, 0],
                stack: None,
                file: Some(FileId { device: (254, 1), inode: 99 }),
            }),
        ),
        event(
            6,
            Body::File(FileChange {
                file: FileId { device: (254, 1), inode: 99 },
                index: 7,
                pages: 16,
                gone: false,
                stranger: true,
                fault: false,
                syscall: Some(1),
                stack: Some(StackHash(99)),
            }),
        ),
        event(
            1060,
            Body::Missing(Missing::Pages(Box::new(MissingPages {
                start: 0x7000_0020_0000,
                pages: [1, 0, u64::MAX, 0, 0, 0, 0, 1 << 63],
            }))),
        ),
        event(1061, Body::Missing(Missing::Space { calls: true })),
        event(1062, Body::Missing(Missing::Anywhere)),
        Input::Code(
            7,
            4,
            vec![Code {
                start: 1,
                end: 2,
                path: "/a b".into(),
                file: Some(0),
                build_id: Some("ab".into()),
                bias: Some(-0x1000),
                ..Code::default()
            }],
        ),
        Input::Snapshot(Snapshot {
            time_ns: 7,
            pid: 7,
            moment: Moment::Periodic,
            segments: vec![Segment { vm_flags: VmFlags::parse("rd wr"), ..segment(0, 4096, 0) }],
            pages: None,
            folios: Vec::new(),
            threads: Vec::new(),
            peak_rss: 0,
        }),
    ]
}

fn bytes_of(inputs: &[Input]) -> Vec<u8> {
    let mut batch = Batch::default();
    inputs.iter().for_each(|input| batch.add(input));
    batch.take()
}

/// The session through a recorder: the live report, and the file.
fn recorded() -> (Report, Vec<u8>) {
    recorded_of(session())
}

fn recorded_of(inputs: Vec<Input>) -> (Report, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let recorder = Recorder::begin(File::create(&path).unwrap(), &opening()).unwrap();
    let mut session = new_session(Question::default());
    for input in &inputs {
        recorder.add(input);
        // Which code is mapped changes nothing but names.
        if !matches!(input, Input::Code(..)) {
            session.apply(input);
        }
    }
    let opening = opening();
    let closing = Closing {
        oom: Vec::new(),
        packages: Vec::new(),
        host: opening.host,
        command: opening.command,
        pids: vec![7],
        started_at: opening.started_at,
        ended_ns: 100_000,
        exit: Some(Exit::Code(0)),
        probes: Vec::new(),
        cgroup: Some(Cgroup { path: "/a".to_owned(), version: 2, ..Cgroup::default() }),
    };
    let ending = Ending {
        oom: Vec::new(),
        packages: Vec::new(),
        pids: closing.pids.clone(),
        ended_ns: closing.ended_ns,
        exit: closing.exit.clone(),
        probes: Vec::new(),
        cgroup: closing.cgroup.clone(),
    };
    recorder.finish(&[], &ending).unwrap();
    // As a live session does it: the inputs once more, for the moments.
    let mut session = new_session(session.moments_of(100_000));
    for input in inputs.iter().filter(|input| !matches!(input, Input::Code(..))) {
        session.apply(input);
    }
    let findings = session.report(closing);
    let named = name(findings, None, &[], session.modules(), &Folders::default());
    (named.report, std::fs::read(&path).unwrap())
}

fn new_session(question: Question) -> Session {
    Session::new(Arch::X86_64, Mode::Run, 1000, question, Box::new(NoBinaries))
}

/// The inputs, each fault for itself.
fn single(input: Input) -> Vec<Input> {
    match input {
        Input::Faults(run) => run.events().map(Input::Event).collect(),
        input => vec![input],
    }
}

#[test]
fn inputs_come_back_as_they_were() {
    let inputs: Vec<Input> = session().into_iter().chain(others()).collect();
    let bytes = bytes_of(&inputs);
    let mut from = Unbatch::new(&bytes, frame::VERSION);
    let mut back = Vec::new();
    while let Some(input) = from.next().unwrap() {
        back.extend(single(input));
    }
    assert_eq!(back, inputs);
}

#[test]
fn the_first_version_says_nothing_of_addresses() {
    let code = |bias| Code { start: 1, end: 2, bias, ..Code::default() };
    let mut bytes = bytes_of(&[Input::Code(7, 4, vec![code(None)])]);
    assert_eq!(bytes.pop(), Some(0), "no bias is the last byte of the second version");
    let read = |version| Unbatch::new(&bytes, version).next();
    assert_eq!(read(1), Ok(Some(Input::Code(7, 4, vec![code(None)]))));
    assert!(read(2).is_err());
    for bias in [0, 1, -1, 0x40_0000, i64::MAX, i64::MIN + 1] {
        let input = Input::Code(7, 4, vec![code(Some(bias))]);
        let bytes = bytes_of(std::slice::from_ref(&input));
        assert_eq!(Unbatch::new(&bytes, 2).next(), Ok(Some(input)));
    }
}

#[test]
fn equal_faults_cost_the_bytes_of_their_times() {
    let inputs: Vec<Input> = (0..10_000).map(|n| fault(n * 700, 0x7000_0000 + (n << 12))).collect();
    let bytes = bytes_of(&inputs).len();
    assert!(bytes < 10_000 * 2 + 100, "{bytes}");
}

#[test]
fn the_report_of_a_recording_is_the_live_one() {
    let (live, file) = recorded();
    let loaded = read(file.as_slice()).unwrap();
    assert_eq!(loaded.report, live);
    assert_eq!((loaded.cut_at, loaded.skipped), (None, 0));
    assert_eq!(live.processes[0].segments[0].paths[0].faults, 256);
}

/// A process that fills 256 pages, is looked at, gives 128 back, is looked at, and exits; and a
/// child of 16 pages that lives from the first of these to the end.
fn rise_and_fall() -> Vec<Input> {
    let all = session();
    let exit = all.len() - 2;
    let base = 0x7000_0000;
    let pages = |count: u64| {
        let Input::Snapshot(snapshot) = &all[exit] else { panic!("the snapshot at the exit") };
        let mut snapshot = snapshot.clone();
        snapshot.segments[0].rss = count << 12;
        snapshot.segments[0].dirty = count << 12;
        let run = &mut snapshot.pages.as_mut().unwrap()[0];
        run.range = base + ((256 - count) << 12)..run.range.end;
        snapshot
    };
    let mut inputs = all[..exit].to_vec();
    let at = |time_ns, moment, snapshot| Input::Snapshot(Snapshot { time_ns, moment, ..snapshot });
    inputs.push(at(90_000, Moment::Periodic, pages(256)));
    let child = |input| match input {
        Input::Snapshot(snapshot) => Input::Snapshot(Snapshot { pid: 8, ..snapshot }),
        Input::Event(event) => Input::Event(Event { pid: 8, tid: 8, mm: MmId(8), ..event }),
        other => other,
    };
    inputs.push(child(event(95_000, Body::Exec { old_tid: 8 })));
    inputs.push(child(at(96_000, Moment::Executed, pages(16))));
    inputs.push(event(
        100_000,
        Body::Map(MapCall {
            syscall: 28,
            entry: true,
            result: 0,
            args: [base, 128 << 12, 4, 0, 0, 0],
            stack: Some(StackHash(99)),
            file: None,
        }),
    ));
    inputs.push(at(110_000, Moment::Periodic, pages(128)));
    inputs.push(at(120_000, Moment::AtExit, pages(128)));
    inputs.push(event(120_100, Body::Exit { group_dead: true, code: 0 }));
    inputs.push(child(at(130_000, Moment::AtExit, pages(16))));
    inputs.push(child(event(130_100, Body::Exit { group_dead: true, code: 0 })));
    inputs
}

/// The report of inputs at a moment.
fn at(inputs: &[Input], at: At) -> Result<Report, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, &file_of(&bytes_of(inputs))).unwrap();
    let report =
        load(file.path(), &Reading { asked: Asked::State(at), ..Reading::default() })?.report;
    crate::report::check_identity(&report).unwrap();
    Ok(report)
}

#[test]
fn the_state_at_a_moment_is_that_of_the_events_up_to_it() {
    let inputs = rise_and_fall();
    // The session began at 1000.
    let state = |after: u64| {
        let report = at(&inputs, At::Time(after - 1000)).unwrap();
        assert_eq!(report.session.at_ns, Some(after - 1000));
        assert_eq!(report.session.duration_ns, after - 1000);
        let of = |process: &crate::report::Process| {
            let paths = process.segments.iter().flat_map(|segment| &segment.paths);
            let explained = paths.map(|path| path.rss_bytes >> 12).sum::<u64>();
            let taken = process.snapshot_ns.map(|at| at + 1000);
            (process.pid, process.rss_bytes.after >> 12, explained, taken)
        };
        report.processes.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(state(1015), [(7, 0, 0, None)], "nothing yet");
    assert_eq!(state(2000 + 99 * 300), [(7, 100, 100, None)], "by the events alone");
    assert_eq!(state(89_999), [(7, 256, 256, None)]);
    assert_eq!(state(90_000), [(7, 256, 256, Some(90_000))]);
    assert_eq!(state(96_000), [(7, 256, 256, Some(90_000)), (8, 16, 16, None)]);
    assert_eq!(state(109_000), [(7, 128, 128, None), (8, 16, 16, None)], "what was freed is gone");
    assert_eq!(state(110_000), [(7, 128, 128, Some(110_000)), (8, 16, 16, None)]);
    assert_eq!(state(120_000), [(7, 128, 128, Some(120_000)), (8, 16, 16, None)]);
    assert_eq!(state(120_100), [(8, 16, 16, None)], "the first has ended");
    let error = at(&inputs, At::Time(129_100)).unwrap_err().to_string();
    assert!(error.contains("no process lived"), "{error}");
    let error = at(&inputs, At::Time(129_101)).unwrap_err().to_string();
    assert!(error.contains("0.000 s after its start"), "{error}");
}

#[test]
fn the_peak_is_the_highest_sum_over_the_processes_that_live() {
    let inputs = rise_and_fall();
    let report = at(&inputs, At::Peak).unwrap();
    assert_eq!(report.session.at_ns, Some(95_000), "256 pages and the child's 16");
    assert_eq!(report.processes.len(), 2);
    let end = at(&inputs, At::End).unwrap();
    assert_eq!(end.session.at_ns, None);
    let rss: Vec<_> = end.processes.iter().map(|p| p.rss_bytes.after >> 12).collect();
    assert_eq!(rss, [128, 16]);
    let error = at(&inputs[..4], At::Peak).unwrap_err().to_string();
    assert!(error.contains("no resident memory"), "{error}");
}

#[test]
fn a_recording_that_is_cut_anywhere_reads_up_to_its_last_whole_frame() {
    let (_, file) = recorded();
    for size in 0..file.len() {
        match read(&file[..size]) {
            Ok(loaded) => assert!(loaded.cut_at.is_some_and(|at| at <= size as u64)),
            Err(Error::Empty) => assert_eq!(size, 0),
            Err(Error::NoOpening(at)) => assert!(at <= size as u64),
            Err(error) => panic!("{size}: {error}"),
        }
    }
    let mut zeros = file[..file.len() - 10].to_vec();
    zeros.extend([0; 5000]);
    let kept = zeros.len() - 5010;
    assert!(read(&zeros[..]).is_err(), "half a frame and zeros are damage");
    let last = read(&file[..kept]).unwrap().cut_at.unwrap() as usize;
    let mut zeros = file[..last].to_vec();
    zeros.extend([0; 5000]);
    assert_eq!(read(zeros.as_slice()).unwrap().cut_at, Some(last as u64));
}

#[test]
fn the_first_batches_are_small_so_that_a_cut_file_holds_something() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let recorder = Recorder::begin(File::create(&path).unwrap(), &opening()).unwrap();
    for input in session() {
        if let Input::Event(event) = &input
            && !matches!(event.body, Body::Exit { .. })
        {
            recorder.add(&input);
        }
    }
    // Faults in no order, so that they make no runs.
    let faults = 20_000_u64;
    for number in 0..faults {
        let page = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        recorder.add(&fault(5000 + number, 0x7000_0000 + (page << 12)));
    }
    // As a process that is killed leaves it: what is no full batch yet may never be written.
    drop(recorder);
    let seen = |file: &[u8]| read(file).ok().map_or(0, |l| l.report.coverage.unwind.complete);
    let mut file = Vec::new();
    for _ in 0..1000 {
        file = std::fs::read(&path).unwrap();
        if seen(&file) > faults / 2 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(seen(&file) > faults / 2);
    let (mut frames, mut cut) = (frame::Frames::open(file.as_slice()).unwrap(), false);
    let mut before = 0;
    let mut batches = 0;
    while let Some(frame) = frames.next(&mut cut).unwrap() {
        if frame.kind != frame::BATCH {
            continue;
        }
        batches += 1;
        let now = seen(&file[..frames.at as usize]);
        assert!(now > before, "batch {batches} adds to what is told");
        // One that is lost takes about as much as all before it, the first little.
        assert!(now - before <= 2 * before + 4096, "batch {batches}: {before} to {now}");
        before = now;
    }
    assert!(batches >= 3, "{batches} batches");
}

#[test]
fn a_flipped_bit_is_told_with_its_place() {
    let (_, file) = recorded();
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 0x10;
        let error = read(bad.as_slice()).expect_err("no bit is without meaning").to_string();
        assert!(error.contains("byte") || at < 16, "{at}: {error}");
    }
}

#[test]
fn other_files_and_versions_are_told_apart() {
    assert!(matches!(read(&b""[..]), Err(Error::Empty)));
    assert!(matches!(read(&b"\x7fELF and more than sixteen bytes"[..]), Err(Error::Foreign)));
    let (_, mut file) = recorded();
    file[8] = frame::VERSION as u8 + 1;
    let mut crc = flate2::Crc::new();
    crc.update(&file[..12]);
    file[12..16].copy_from_slice(&crc.sum().to_le_bytes());
    let error = read(file.as_slice()).unwrap_err();
    assert!(error.to_string().contains("use a newer rmap"), "{error}");
}

#[test]
fn frames_of_unknown_kinds_are_skipped_and_counted() {
    let mut file = frame::head().to_vec();
    let opening = serde_json::to_vec(&opening()).unwrap();
    file.extend(frame::encode(frame::OPENING, 0, &opening).unwrap());
    file.extend(frame::encode(77, 1, b"of the future").unwrap());
    file.extend(frame::encode(frame::BATCH, 2, &bytes_of(&session())).unwrap());
    let loaded = read(file.as_slice()).unwrap();
    assert_eq!(loaded.skipped, 1);
    let notes: Vec<_> =
        loaded.report.coverage.probes.iter().filter(|p| p.name == "recording").collect();
    assert_eq!(notes.len(), 2, "cut off, and one skipped: {notes:?}");
}

#[test]
fn a_full_disk_is_one_line_and_no_panic() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = Recorder::begin(full, &opening()).err().unwrap();
    assert!(error.to_string().contains("No space left"), "{error}");
}

/// A file with this batch in it, its checksums right.
fn file_of(batch: &[u8]) -> Vec<u8> {
    let mut file = frame::head().to_vec();
    let opening = serde_json::to_vec(&opening()).unwrap();
    file.extend(frame::encode(frame::OPENING, 0, &opening).unwrap());
    file.extend(frame::encode(frame::BATCH, 1, batch).unwrap());
    file
}

/// A fault of whose page alone the page table tells, as a run of faults needs it.
fn plain_fault(time_ns: u64, address: u64, change: impl FnOnce(&mut Fault)) -> Input {
    let Input::Event(mut event) = fault(time_ns, address) else { panic!("a fault") };
    if let Body::Fault(fault) = &mut event.body {
        fault.entry = fault.entry.map(|entry| Entry { window: None, ..entry });
        fault.same_page = None;
        change(fault);
    }
    Input::Event(event)
}

/// A run of faults over the memory that [`session`] maps, and over what lies beside it.
fn run_of_faults() -> impl Strategy<Value = Vec<Input>> {
    let kind = 0..6_u8;
    let stride = prop_oneof![4 => Just(1_i64), 2 => Just(-1), 1 => -3_i64..4];
    (kind, -20_i64..300, stride, 1..40_i64, 0..1000_u64, 1..50_u64).prop_map(
        |(kind, page, stride, count, time, pace)| {
            let one = |n: i64| {
                let address = 0x7000_0123_i64 + ((page + n * stride) << 12);
                plain_fault(2000 + time + n as u64 * pace, address as u64, |fault| match kind {
                    0 => fault.access = Some(Access { write: false, ..fault.access.unwrap() }),
                    1 => fault.access = Some(Access { present: true, ..fault.access.unwrap() }),
                    2 => (fault.kernel, fault.syscall) = (true, Some(0)),
                    3 => fault.stack = None,
                    _ => {}
                })
            };
            (0..count).map(one).collect()
        },
    )
}

/// A call that gives up or changes a part of that memory.
fn call() -> impl Strategy<Value = Vec<Input>> {
    let number = prop_oneof![Just((28, 4)), Just((28, 8)), Just((11, 0)), Just((10, 1))];
    (number, 0..256_u64, 1..64_u64, 0..1000_u64).prop_map(
        |((syscall, third), page, pages, time)| {
            let call = |entry| MapCall {
                syscall,
                entry,
                result: 0,
                args: [0x7000_0000 + (page << 12), pages << 12, third, 0, 0, 0],
                stack: Some(StackHash(99)),
                file: None,
            };
            [true, false].map(|entry| event(2000 + time, Body::Map(call(entry)))).to_vec()
        },
    )
}

#[test]
fn faults_one_page_after_the_other_are_taken_at_once() {
    let faults: Vec<_> =
        (0..100).map(|n| plain_fault(2000 + n * n, 0x7000_0000 + (n << 12), |_| {})).collect();
    let next = event(90_000, Body::Exec { old_tid: 7 });
    let bytes = bytes_of(&faults.iter().cloned().chain([next.clone()]).collect::<Vec<_>>());
    let mut from = Unbatch::new(&bytes, frame::VERSION);
    let Ok(Some(Input::Faults(run))) = from.next() else { panic!("a run") };
    assert_eq!(run.events().map(Input::Event).collect::<Vec<_>>(), faults);
    assert_eq!(from.next(), Ok(Some(next)));
    assert_eq!(from.next(), Ok(None));
    // The next fault goes on from where the run ended.
    let last = plain_fault(1, 0x7000_0000, |_| {});
    let all: Vec<Input> = faults.iter().chain(&faults).cloned().chain([last]).collect();
    let bytes = bytes_of(&all);
    let mut from = Unbatch::new(&bytes, frame::VERSION);
    let mut back = Vec::new();
    while let Some(input) = from.next().unwrap() {
        back.extend(single(input));
    }
    assert_eq!(back, all);
}

proptest! {
    // Whether a run means the same as its faults is asked there.
    #[test]
    fn runs_of_faults_mean_what_their_faults_mean(
        parts in proptest::collection::vec(
            prop_oneof![4 => run_of_faults(), 1 => call()],
            1..12,
        ),
        shared in any::<bool>(),
    ) {
        let mut inputs = session();
        if let Some(Input::Event(Event { body: Body::Map(call), .. })) = inputs.get_mut(3)
            && shared
        {
            call.args[3] = 0x21;
        }
        let before = inputs.iter().position(|input| matches!(input, Input::Lost(_))).unwrap();
        inputs.splice(4..before, parts.into_iter().flatten());
        let (live, file) = recorded_of(inputs);
        let again = read(file.as_slice()).unwrap().report;
        prop_assert_eq!(&again.processes, &live.processes);
        prop_assert_eq!(again, live);
        fuzz_entry(&file);
    }

    #[test]
    fn any_batch_is_a_report_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_entry(&file_of(&bytes));
    }

    #[test]
    fn a_changed_batch_is_a_report_or_an_error(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
    ) {
        let inputs: Vec<Input> = session().into_iter().chain(others()).collect();
        let mut bytes = bytes_of(&inputs);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_entry(&file_of(&bytes));
    }

    #[test]
    fn any_bytes_are_a_report_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz_entry(&bytes);
    }
}
