//! The loops of the opener's and the reader's process.
//!
//! Comes in: requests on the standard input. Goes out: answers there, and the reader's on the
//! standard output. The opener ends when rmap closes its end or ends, the reader with the opener.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::unistd::{ForkResult, fork};

use super::opener::{self, Done};
use super::protocol::{self, REQUEST_MAX, Request, Task};
use super::reader::Reader;
use super::sandbox;
use super::socket::Channel;

/// The argument by which rmap starts itself as a worker. Not for people.
pub const ARGUMENT: &str = "--worker-of-rmap";

/// What the opener sends when the reader answers.
const READER_ANSWERS: &[u8] = &[];

/// Is the worker, if this process was started as one: `None` if it was not.
#[must_use]
pub fn serve() -> Option<ExitCode> {
    if std::env::args_os().nth(1)? != ARGUMENT {
        return None;
    }
    Some(match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn run() -> io::Result<()> {
    end_with_parent();
    // SAFETY: rmap has put the two sockets there, and nothing else here uses these descriptors.
    let (requests, answers) = unsafe { (OwnedFd::from_raw_fd(0), OwnedFd::from_raw_fd(1)) };
    let (to_reader, from_opener) = UnixStream::pair()?;
    // SAFETY: there is one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop((requests, to_reader));
            read(&Channel::from(OwnedFd::from(from_opener)), &answers.into())
        }
        ForkResult::Parent { .. } => {
            drop((answers, from_opener));
            open(&requests.into(), &Channel::from(OwnedFd::from(to_reader)))
        }
    }
}

/// The opener.
fn open(requests: &Channel, reader: &Channel) -> io::Result<()> {
    loop {
        let message = requests.receive(REQUEST_MAX, None)?;
        let (request, _) = protocol::decode::<Request>(&message.bytes).map_err(io::Error::other)?;
        match opener::open(request, message.files.into_iter().next()) {
            Done::Answer(answer, body) => {
                requests.send(&protocol::encode(&answer, &body), &[], None)?;
            }
            Done::Task(task, files) => {
                let files_there = opener::borrowed(&files);
                reader.send(&protocol::encode(&task, &[]), &files_there, None)?;
                requests.send(READER_ANSWERS, &[], None)?;
            }
        }
    }
}

/// The reader.
fn read(tasks: &Channel, answers: &Channel) -> io::Result<()> {
    sandbox::enter()?;
    // A change of user has taken that back.
    end_with_parent();
    let mut reader = Reader::default();
    loop {
        let message = tasks.receive(REQUEST_MAX, None)?;
        let (task, _) = protocol::decode::<Task>(&message.bytes).map_err(io::Error::other)?;
        let (answer, body, copy) = reader.run(task, message.files);
        let copies: Vec<OwnedFd> = copy.into_iter().collect();
        let answer = protocol::encode(&answer, &body);
        answers.send(&answer, &opener::borrowed(&copies), None)?;
    }
}

/// Lets the kernel end this process when the one that made it ends.
fn end_with_parent() {
    // SAFETY: the call takes numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}
