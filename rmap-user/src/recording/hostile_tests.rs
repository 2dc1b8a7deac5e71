//! Files made to do harm: sizes and counts that lie, bombs, no end. Each is an error that says what
//! and where, within memory and time that the test notices.

use std::io::{self, Read};

use super::frame::{self, BATCH, OPENING, RAW_MAX, ZEROS_MAX};
use super::{Error, read};

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
    let error = read(Endless(&begun(), 0)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(matches!(read(Endless(b"", 0)), Err(Error::Foreign)));
}
