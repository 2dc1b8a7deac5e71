//! Messages between rmap and the processes that open and read foreign files.
//!
//! Comes in and goes out: bytes and descriptors, over a Unix stream socket. A message is its length
//! (32 bits, little-endian), then its bytes; its descriptors travel with the length. Every wait has
//! a deadline, every message a limit.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, send, sendmsg};

use super::starved::Starved;
use crate::live::hurry;

/// How often a wait looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Descriptors of one message at most.
pub const DESCRIPTORS_MAX: usize = 8;

/// A message.
#[derive(Debug, Default)]
pub struct Message {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors.
    pub files: Vec<OwnedFd>,
}

/// One end of a stream socket.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    /// Whose want of a processor puts deadlines off.
    starved: Option<Arc<Starved>>,
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self { socket, starved: None }
    }
}

impl Channel {
    /// One end, with processes at the other whose deadlines do not pass while they have no processor.
    pub(super) const fn to(socket: OwnedFd, starved: Arc<Starved>) -> Self {
        Self { socket, starved: Some(starved) }
    }
}

impl Channel {
    /// Sends a message; without a deadline it waits as long as it takes.
    ///
    /// # Errors
    /// The other end is gone, or did not take it in time ([`ErrorKind::TimedOut`]).
    pub fn send(
        &self,
        bytes: &[u8],
        files: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| too_long())?.to_le_bytes();
        let raw: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let fd = self.socket.as_raw_fd();
        let mut sent = self.retry(PollFlags::POLLOUT, deadline, || {
            let parts = [IoSlice::new(&length), IoSlice::new(bytes)];
            sendmsg::<()>(fd, &parts, rights, flags, None)
        })?;
        if sent < length.len() {
            return Err(io::Error::other("a message was cut"));
        }
        sent -= length.len();
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += self.retry(PollFlags::POLLOUT, deadline, || send(fd, rest, flags))?;
        }
        Ok(())
    }

    /// Receives a message of up to `most` bytes.
    ///
    /// # Errors
    /// The other end is gone ([`ErrorKind::UnexpectedEof`]), nothing came in time
    /// ([`ErrorKind::TimedOut`]), or the message is too long.
    pub fn receive(&self, most: usize, deadline: Option<Instant>) -> io::Result<Message> {
        let mut length = [0; 4];
        let mut files = Vec::new();
        let mut filled = 0;
        while filled < length.len() {
            let (got, more) = self.receive_part(length.get_mut(filled..), deadline)?;
            filled += got;
            files.extend(more);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > most || files.len() > DESCRIPTORS_MAX {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            // What was promised is not believed before it comes.
            let filled = bytes.len();
            bytes.resize(length.min(filled + (256 << 10)), 0);
            let (got, _) = self.receive_part(bytes.get_mut(filled..), deadline)?;
            bytes.truncate(filled + got);
        }
        Ok(Message { bytes, files })
    }

    fn receive_part(
        &self,
        to: Option<&mut [u8]>,
        deadline: Option<Instant>,
    ) -> io::Result<(usize, Vec<OwnedFd>)> {
        let to = to.unwrap_or_default();
        let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let (got, files) = self.retry(PollFlags::POLLIN, deadline, || {
            let mut parts = [IoSliceMut::new(to)];
            let received = recvmsg::<()>(fd, &mut parts, Some(&mut space), flags)?;
            let mut files = Vec::new();
            for message in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(raw) = message {
                    // SAFETY: the kernel has just made these descriptors for us alone.
                    files.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
            Ok((received.bytes, files))
        })?;
        if got == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok((got, files))
    }

    /// Calls until it does not have to wait, or the deadline has passed.
    fn retry<T>(
        &self,
        what: PollFlags,
        deadline: Option<Instant>,
        mut call: impl FnMut() -> nix::Result<T>,
    ) -> io::Result<T> {
        loop {
            match call() {
                Ok(done) => return Ok(done),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait(what, deadline)?,
                Err(Errno::EPIPE | Errno::ECONNRESET) => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&self, what: PollFlags, deadline: Option<Instant>) -> io::Result<()> {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let mut left = deadline.saturating_duration_since(Instant::now());
                let starved = self.starved.as_ref().filter(|_| left.is_zero());
                if starved.is_some_and(|starved| starved.deserve_more(deadline)) {
                    left = LOOK;
                }
                if left.is_zero() || hurry::asked() {
                    return Err(ErrorKind::TimedOut.into());
                }
                // Rounded up, so that it does not spin in the last millisecond.
                let timeout = left.min(LOOK).as_millis() + 1;
                PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut [PollFd::new(self.socket.as_fd(), what)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn too_long() -> io::Error {
    io::Error::other("a message is longer than its limit")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::thread;

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (OwnedFd::from(one).into(), OwnedFd::from(other).into())
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(50))
    }

    #[test]
    fn bytes_and_descriptors_arrive_together() {
        let (one, other) = pair();
        let long = vec![7; 3 << 20];
        let expected = long.clone();
        let sender = thread::spawn(move || {
            let (mut end, kept) = UnixStream::pair().unwrap();
            one.send(&long, &[kept.as_fd()], None).unwrap();
            drop(kept);
            end.write_all(b"through").unwrap();
        });
        let Message { bytes, files } = other.receive(4 << 20, None).unwrap();
        sender.join().unwrap();
        assert!(bytes == expected);
        let [file] = <[OwnedFd; 1]>::try_from(files).unwrap();
        let mut text = String::new();
        UnixStream::from(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn silence_ends_at_the_deadline_and_an_end_at_once() {
        let (one, other) = pair();
        assert_eq!(one.receive(10, soon()).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(other);
        assert_eq!(one.receive(10, None).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(one.send(b"x", &[], None).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_message_longer_than_the_limit_is_refused() {
        let (one, other) = pair();
        one.send(b"12345", &[], None).unwrap();
        assert!(other.receive(4, soon()).is_err());
        let (one, other) = pair();
        send(one.socket.as_raw_fd(), &[255; 4], MsgFlags::empty()).unwrap();
        assert!(other.receive(1 << 20, soon()).is_err());
    }

    #[test]
    fn a_sender_that_nobody_reads_stops_at_the_deadline() {
        let (one, _other) = pair();
        let error = one.send(&vec![0; 64 << 20], &[], soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
