//! What a command writes while the terminal shows something else.
//!
//! Comes in: a file for it, or none. Goes out: a descriptor for the command, the last line that it wrote,
//! and at the end what it wrote, if no file was named.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::output;

/// A last line has so many bytes at most.
const LINE: u64 = 1024;
/// Of a file without a name so many bytes are printed at most, the last ones.
const PRINTED: u64 = 1 << 20;

/// The file that a command writes to.
pub(super) struct Said {
    file: File,
    /// The same to be read; a pipe or a device is not.
    reader: Option<File>,
    is_named: bool,
}

impl Said {
    /// A file at a path, or one without a name, which is gone with rmap and its command.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = match path {
            Some(path) => output::keep(path)?,
            None => {
                tempfile::tempfile().context("cannot make a file for what the command writes")?
            }
        };
        // Several processes write to it, none over what another one wrote.
        fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::O_APPEND))
            .context("cannot append to the file for what the command writes")?;
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let reader = file.metadata()?.is_file().then(|| File::open(again).ok()).flatten();
        Ok(Self { file, reader, is_named: path.is_some() })
    }

    /// The same file once more.
    pub(super) fn again(&self) -> anyhow::Result<Self> {
        let reader = self.reader.as_ref().map(File::try_clone).transpose()?;
        Ok(Self { file: self.file.try_clone()?, reader, is_named: self.is_named })
    }

    /// For the command.
    pub(super) fn descriptor(&self) -> anyhow::Result<Arc<OwnedFd>> {
        Ok(Arc::new(self.file.try_clone()?.into()))
    }

    /// The last line that has anything in it; `None` where nothing can be read.
    pub(super) fn last_line(&self) -> Option<String> {
        let bytes = self.tail(LINE).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
    }

    /// Prints what has no other place.
    pub(super) fn print(&self) -> io::Result<()> {
        if self.is_named {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        let printed = out.write_all(&self.tail(PRINTED)?).and_then(|()| out.flush());
        output::unless_gone(printed)
    }

    fn tail(&self, most: u64) -> io::Result<Vec<u8>> {
        let Some(reader) = &self.reader else { return Ok(Vec::new()) };
        let length = reader.metadata()?.len();
        let from = length.saturating_sub(most);
        let mut bytes = vec![0; usize::try_from(length - from).unwrap_or(0)];
        reader.read_exact_at(&mut bytes, from)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_anything_in_it_is_shown() {
        let said = Said::open(None).unwrap();
        assert_eq!(said.last_line(), None);
        let mut writer = said.file.try_clone().unwrap();
        writer.write_all(b"first\nsecond\n \n\n").unwrap();
        assert_eq!(said.last_line().as_deref(), Some("second"));
        writer.write_all(&vec![b'x'; 5000]).unwrap();
        assert_eq!(said.last_line().unwrap().len(), 1024);
    }
}
