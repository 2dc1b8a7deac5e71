//! Copies of the parts of foreign files.
//!
//! Comes in: an open file and ranges of it. Goes out: the same bytes at the same places, in memory
//! of this process or in a memfd. What was checked in a copy is what is read from it, whatever the
//! file's owner writes meanwhile; and a copy does not keep a file system busy.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use sha2::{Digest as _, Sha256};

use crate::symbol::parts;

/// The seals of a copy that was handed on.
const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// The parts of a file on which its unwind table depends, with zeros between them.
#[derive(Debug)]
pub struct Image {
    /// As long as the last part reaches.
    pub bytes: Vec<u8>,
    /// SHA-256 of the file's length, and of each part with its place.
    pub digest: [u8; 32],
}

impl Image {
    /// Reads the parts.
    ///
    /// # Errors
    /// Reading failed, or the parts reach beyond what memory can have.
    pub fn read(file: &File, length: u64, ranges: &[Range<u64>]) -> io::Result<Self> {
        let end = ranges.last().map_or(0, |range| range.end);
        let end = usize::try_from(end).map_err(io::Error::other)?;
        // Of what is not written no memory is used.
        let mut bytes = vec![0; end];
        let mut digest = Sha256::new();
        digest.update(length.to_le_bytes());
        for range in ranges {
            digest.update(range.start.to_le_bytes());
            digest.update(range.end.to_le_bytes());
            let place = bytes.get_mut(range.start as usize..range.end as usize);
            let place = place.ok_or_else(|| io::Error::other("a part beyond the end"))?;
            file.read_exact_at(place, range.start)?;
            digest.update(&*place);
        }
        Ok(Self { bytes, digest: digest.finalize().into() })
    }
}

/// Copies ranges of a file into a memfd that nobody can change any more.
///
/// # Errors
/// Reading failed, or there is no memory.
pub fn sealed_copy(file: &File, length: u64, ranges: &[Range<u64>]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = File::from(memfd_create(c"rmap-symbols", flags)?);
    copy.set_len(length)?;
    parts::copy(file, ranges, |at, piece| copy.write_all_at(piece, at))?;
    (&copy).flush()?;
    fcntl(copy.as_fd(), FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(copy.into())
}

/// Whether a descriptor is such a copy: no file of a file system that somebody waits for.
#[must_use]
pub fn is_sealed(copy: &OwnedFd) -> bool {
    let seals = fcntl(copy.as_fd(), FcntlArg::F_GET_SEALS);
    seals.is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_parts_at_their_places_and_cannot_be_changed() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let copy = sealed_copy(&file, 10, &[2..4, 7..8]).unwrap();
        assert!(is_sealed(&copy));
        let copy = File::from(copy);
        let mut bytes = [1; 10];
        copy.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\x0023\0\0\x007\0\0");
        assert!(copy.write_at(b"x", 0).is_err());
        assert!(copy.set_len(0).is_err());
        assert!(!is_sealed(&OwnedFd::from(file)));
    }

    #[test]
    fn the_digest_is_of_the_parts_their_places_and_the_length() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"aabbaabb").unwrap();
        let read = |length, range| Image::read(&file, length, std::slice::from_ref(&range));
        let digest = |length, range: Range<u64>| read(length, range).unwrap().digest;
        assert_eq!(digest(8, 0..2), digest(8, 0..2));
        assert_ne!(digest(8, 0..2), digest(8, 4..6), "another place");
        assert_ne!(digest(8, 0..2), digest(8, 2..4), "other bytes");
        assert_ne!(digest(8, 0..2), digest(9, 0..2), "another length");
        assert!(read(8, 0..20).is_err(), "cut meanwhile");
    }
}
