//! Files made to do harm: sizes and counts that lie, bombs, no end. Each is an error that says what
//! and where, within memory and time that the test notices.

use std::io::{self, Read};

use super::{read, read_once};
use crate::recording::Error;
use crate::recording::codec::Batch;
use crate::recording::frame::{self, BATCH, OPENING, RAW_MAX, ZEROS_MAX};
use crate::trace::{Body, Code, Event, Fork, Input, MmId};

/// A frame whose header says what it is told to, its checksums right.
fn lying(method: u8, stored: usize, raw: usize, number: u32, payload: &[u8]) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum()
    };
    let mut frame = BATCH.to_le_bytes().to_vec();
    frame.extend([method, 0]);
    for word in [stored as u32, raw as u32, number, crc(payload)] {
        frame.extend(word.to_le_bytes());
    }
    frame.extend(crc(&frame).to_le_bytes());
    frame.extend(payload);
    frame
}

/// A recording that begins as it should.
fn begun() -> Vec<u8> {
    let opening = r#"{"rmap_version":"0","mode":"run","host":{"kernel":"6.18","arch":"x86_64",
        "page_bytes":4096,"cpus":1},"started_ns":0,"started_at":"","command":null,"pids":[]}"#;
    let mut file = frame::head().to_vec();
    file.extend(frame::encode(OPENING, 0, opening.as_bytes()).unwrap());
    file
}

/// What is said of a file with such a frame, and where it is said to be.
fn told(frame: &[u8]) -> String {
    let mut file = begun();
    let at = file.len();
    file.extend(frame);
    match read(&file[..]) {
        Err(Error::Damaged { at: told, what }) => {
            assert_eq!(told, at as u64, "{what}");
            what
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_size_that_lies_is_told() {
    let huge = u32::MAX as usize;
    assert!(told(&lying(0, huge, huge, 1, b"x")).contains("larger than any frame"));
    assert!(told(&lying(0, 8, RAW_MAX + 1, 1, b"x")).contains("larger than any frame"));
    assert!(told(&lying(0, 4, 8, 1, b"four")).contains("packed in a way"));
    assert!(told(&lying(7, 4, 4, 1, b"four")).contains("packed in a way"));
    assert!(told(&lying(0, 4, 4, 9, b"four")).contains("missing or stands twice"));
    let packed = zstd::bulk::compress(&[7; 100], 3).unwrap();
    assert!(told(&lying(1, packed.len(), 99, 1, &packed)).contains("does not unpack"));
    assert!(told(&lying(1, packed.len(), 101, 1, &packed)).contains("does not unpack"));
}

#[test]
fn a_bomb_is_not_unpacked() {
    let packed = zstd::bulk::compress(&vec![0; RAW_MAX], 1).unwrap();
    assert!(packed.len() < RAW_MAX / 1000);
    let told = told(&lying(1, packed.len(), RAW_MAX, 1, &packed));
    assert!(told.contains("unpacks to more than any frame"), "{told}");
}

#[test]
fn counts_that_lie_are_told_before_room_is_made() {
    // Every kind of input, each followed by the largest number that there is.
    for kind in 0..=u8::MAX {
        let mut batch = vec![kind];
        batch.extend([0xff; 9]);
        batch.extend([0x01; 40]);
        let mut file = begun();
        file.extend(frame::encode(BATCH, 1, &batch).unwrap());
        match read(&file[..]) {
            Ok(_) | Err(Error::Damaged { .. }) => {}
            Err(other) => panic!("{kind}: {other}"),
        }
    }
}

/// A file with these inputs, as small as they pack.
fn file_of(add: impl FnOnce(&mut dyn FnMut(&dyn Fn(&mut Batch)))) -> Vec<u8> {
    let mut file = begun();
    let (mut batch, mut number) = (Batch::default(), 1);
    let mut end = |batch: &mut Batch| {
        file.extend(frame::encode(BATCH, number, &batch.take()).unwrap());
        number += 1;
    };
    add(&mut |put| {
        put(&mut batch);
        if batch.len() > 1 << 20 {
            end(&mut batch);
        }
    });
    end(&mut batch);
    file
}

/// So many executable mappings from an address on.
fn mappings(first: u64, many: u64) -> Vec<Code> {
    let at = |number| 0x1000 * (first + number);
    let code = |number| Code { start: at(number), end: at(number) + 0x1000, ..Code::default() };
    (0..many).map(code).collect()
}

/// Mappings are compared with those before, and a child has its parent's: what that adds up to is
/// bounded by the size of the file, however well it packs.
#[test]
fn mappings_and_children_without_end_are_refused_in_time() {
    let event = |body| Input::Event(Event { time_ns: 1, pid: 7, tid: 7, mm: MmId(0x1000), body });
    let exec = event(Body::Exec { old_tid: 7 });
    let fork = |child: u32| {
        let (child_pid, child_tid, child_mm) = (child, child, MmId(child.into()));
        let (thread, same_mm, stack) = (false, false, None);
        event(Body::Fork(Fork { child_pid, child_tid, child_mm, thread, same_mm, stack }))
    };
    let began = std::time::Instant::now();
    let in_time = |what: &str, file: &[u8]| {
        let size = file.len();
        let error = read(file).map(|loaded| loaded.report.processes.len());
        assert!(matches!(error, Err(Error::Damaged { .. })), "{what}: {error:?}");
        let took = began.elapsed();
        eprintln!("{what}: {size} bytes, {took:?}");
        assert!(took.as_secs() < 60, "{what}: {took:?} for {size} bytes");
    };
    let many_times = file_of(|add| {
        add(&|batch| batch.add(&exec));
        (0..200_000).for_each(|n| add(&|batch| batch.add(&Input::Code(7, 2, mappings(n, 1)))));
    });
    in_time("many times", &many_times);
    let inherited = file_of(|add| {
        add(&|batch| batch.add(&exec));
        add(&|batch| batch.add(&Input::Code(7, 2, mappings(1, 20_000))));
        (8..20_000).for_each(|child| add(&|batch| batch.add(&fork(child))));
    });
    in_time("inherited", &inherited);
    // Many at once, and the same once more, are only many.
    let many = file_of(|add| {
        add(&|batch| batch.add(&exec));
        for _ in 0..4 {
            add(&|batch| batch.add(&Input::Code(7, 2, mappings(1, 30_000))));
        }
    });
    assert!(read(&many[..]).is_ok());
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

/// Bytes, then zeros without end.
struct Endless<'a>(&'a [u8], u64);

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.0.is_empty() {
            return self.0.read(buffer);
        }
        buffer.fill(0);
        self.1 += buffer.len() as u64;
        assert!(self.1 < 2 * ZEROS_MAX, "it is read on and on");
        Ok(buffer.len())
    }
}

#[test]
fn a_file_without_end_has_one() {
    let error = read_once(Endless(&begun(), 0)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(matches!(read_once(Endless(b"", 0)), Err(Error::Foreign)));
}
