//! The file: a head, then frames, each with its length, its kind and checksums.
//!
//! Comes in: payloads, or a file from outside. Goes out: the bytes of a frame, or checked
//! payloads. A frame that the file's end cuts off ends the recording; any other that is not as it
//! was written is an error with its place.

use std::io::Read;

use super::Error;

/// The version that this rmap writes, and the highest that it reads.
pub(crate) const VERSION: u16 = 6;
const MAGIC: [u8; 8] = *b"\x89RMAP\r\n\x1a";

/// Whether a file that begins with these bytes (eight, or all that it has) is a recording.
#[must_use]
pub fn is_recording(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}
pub(crate) const HEAD: usize = 16;
const HEADER: usize = 24;

/// A payload has at most so many bytes before compression.
pub(crate) const RAW_MAX: usize = 64 << 20;
/// And at most so many times those that are stored, so that a small file is a small matter.
const RATIO_MAX: usize = 200;
/// More zeros at its end than this no crash leaves: a file that goes on with them is not read on.
pub(crate) const ZEROS_MAX: u64 = 64 << 20;
/// Quick, and twice as small as without.
const LEVEL: i32 = 3;

const STORED: u8 = 0;
const ZSTD: u8 = 1;

pub(crate) const OPENING: u16 = 1;
pub(crate) const BATCH: u16 = 2;
pub(crate) const NAMES: u16 = 3;
pub(crate) const ENDING: u16 = 4;

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The first bytes of a file.
pub(crate) fn head() -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..10].copy_from_slice(&VERSION.to_le_bytes());
    let sum = crc(&head[..12]);
    head[12..].copy_from_slice(&sum.to_le_bytes());
    head
}

/// A frame as it stands in the file. `number`: how many frames come before it.
pub(crate) fn encode(kind: u16, number: u32, raw: &[u8]) -> std::io::Result<Vec<u8>> {
    if raw.len() > RAW_MAX {
        return Err(std::io::Error::other("more at once than a frame holds"));
    }
    let packed = zstd::bulk::compress(raw, LEVEL)?;
    let worth = packed.len() < raw.len() && raw.len() <= packed.len() * RATIO_MAX;
    let (method, payload) = if worth { (ZSTD, packed.as_slice()) } else { (STORED, raw) };
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&kind.to_le_bytes());
    frame.extend_from_slice(&[method, 0]);
    for number in [payload.len() as u32, raw.len() as u32, number, crc(payload)] {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    let sum = crc(&frame);
    frame.extend_from_slice(&sum.to_le_bytes());
    frame.extend_from_slice(payload);
    Ok(frame)
}

/// A checked frame.
pub(crate) struct Frame {
    /// Where it begins.
    pub at: u64,
    pub kind: u16,
    pub payload: Vec<u8>,
}

/// Reads frames from the front of a file.
pub(crate) struct Frames<R> {
    from: R,
    /// The version of the format.
    pub version: u16,
    /// Where the next frame begins.
    pub at: u64,
    number: u32,
}

impl<R: Read> Frames<R> {
    /// Reads the head.
    pub(crate) fn open(mut from: R) -> Result<Self, Error> {
        let mut head = [0; HEAD];
        let got = fill(&mut from, &mut head)?;
        if got == 0 {
            return Err(Error::Empty);
        }
        if head[..got.min(8)] != MAGIC[..got.min(8)] {
            return Err(Error::Foreign);
        }
        if got < HEAD {
            return Err(Error::NoOpening(got as u64));
        }
        if word(&head, 12) != crc(&head[..12]) {
            return Err(Error::Damaged { at: 0, what: "the checksum of its head differs".into() });
        }
        let version = u16::from_le_bytes([head[8], head[9]]);
        if version > VERSION {
            return Err(Error::Newer(version));
        }
        if version == 0 {
            return Err(Error::Damaged { at: 0, what: "there is no version 0".into() });
        }
        Ok(Self { from, version, at: HEAD as u64, number: 0 })
    }

    /// The next frame; `None` at the end. At the file's end inside of a frame `cut` is set.
    pub(crate) fn next(&mut self, cut: &mut bool) -> Result<Option<Frame>, Error> {
        let at = self.at;
        let damaged = |what: &str| Error::Damaged { at, what: what.to_owned() };
        let mut header = [0; HEADER];
        let got = fill(&mut self.from, &mut header)?;
        if got < HEADER {
            *cut = got > 0;
            return Ok(None);
        }
        if header == [0; HEADER] && self.only_zeros()? {
            // As a crash of the machine leaves the end of a file.
            *cut = true;
            return Ok(None);
        }
        if word(&header, 20) != crc(&header[..20]) {
            return Err(damaged("the checksum of a frame's header differs"));
        }
        let (stored, raw) = (word(&header, 4) as usize, word(&header, 8) as usize);
        let method = header[2];
        if raw > RAW_MAX || stored > RAW_MAX {
            return Err(damaged("a frame says that it is larger than any frame may be"));
        }
        if method == ZSTD && raw > stored.saturating_mul(RATIO_MAX) {
            return Err(damaged("a frame says that it unpacks to more than any frame may"));
        }
        if word(&header, 12) != self.number {
            return Err(damaged("a frame is missing or stands twice"));
        }
        // Grows with what is there, not with what is said.
        let mut payload = Vec::new();
        let wanted = stored as u64;
        (&mut self.from).take(wanted).read_to_end(&mut payload)?;
        if payload.len() < stored {
            *cut = true;
            return Ok(None);
        }
        if word(&header, 16) != crc(&payload) {
            if payload.iter().all(|byte| *byte == 0) && self.only_zeros()? {
                *cut = true;
                return Ok(None);
            }
            return Err(damaged("the checksum of a frame differs"));
        }
        let payload = match method {
            STORED if stored == raw => payload,
            ZSTD => zstd::bulk::decompress(&payload, raw)
                .ok()
                .filter(|payload| payload.len() == raw)
                .ok_or_else(|| damaged("a frame does not unpack to what it says"))?,
            _ => return Err(damaged("a frame is packed in a way that is not known")),
        };
        self.at += (HEADER + stored) as u64;
        self.number = self.number.wrapping_add(1);
        Ok(Some(Frame { at, kind: u16::from_le_bytes([header[0], header[1]]), payload }))
    }

    fn only_zeros(&mut self) -> std::io::Result<bool> {
        let mut block = [0; 1 << 16];
        let mut read = 0;
        while read <= ZEROS_MAX {
            match fill(&mut self.from, &mut block)? {
                0 => return Ok(true),
                got if block[..got].iter().any(|byte| *byte != 0) => return Ok(false),
                got => read += got as u64,
            }
        }
        Ok(false)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    if let Some(found) = bytes.get(at..at + 4) {
        word.copy_from_slice(found);
    }
    u32::from_le_bytes(word)
}

/// Reads until the buffer is full or the file ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
