//! The image of code that the kernel maps into every process.
//!
//! Comes in: this process's own memory. Goes out: the image as a [`Binary`], and for a mapping of
//! another process whether it has the same.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::maps::{self, Line};
use crate::symbol::{Binary, trampolines_in};

/// Of the vDSO, in bytes.
const BYTES_MAX: u64 = 1 << 20;
/// The highest address of a 32-bit process.
const MAX_32: u64 = u32::MAX as u64;

/// The image.
#[derive(Debug)]
pub(super) struct Vdso {
    /// Its bytes.
    pub image: Vec<u8>,
    /// The same as a file.
    pub binary: Arc<Binary>,
}

impl Vdso {
    /// The image, if a mapping is one of the same.
    pub(super) fn of(&self, line: &Line) -> Option<Arc<Binary>> {
        let size = line.range.end - line.range.start;
        let same = line.range.start > MAX_32 && size == self.image.len() as u64;
        same.then(|| Arc::clone(&self.binary))
    }
}

/// A copy of this process's own.
pub(super) fn own() -> io::Result<Vdso> {
    let missing = || io::Error::other("this process has no vDSO of a known size");
    let lines = maps::executable(&fs::read("/proc/self/maps")?);
    let line = lines.into_iter().find(|line| line.path == "[vdso]").ok_or_else(missing)?;
    let size = line.range.end - line.range.start;
    if size > BYTES_MAX {
        return Err(missing());
    }
    let mut image = vec![0; usize::try_from(size).map_err(|_| missing())?];
    File::open("/proc/self/mem")?.read_exact_at(&mut image, line.range.start)?;
    let mut file = File::from(memfd_create(c"rmap-vdso", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&image)?;
    let mut binary = Binary::keep(file)?;
    binary.trampolines = trampolines_in(&image).map(|at| at as u64).collect();
    binary.is_systems = true;
    Ok(Vdso { image, binary: Arc::new(binary) })
}
