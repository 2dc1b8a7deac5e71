//! Foreign files are opened and read in processes of their own.
//!
//! Comes in: a [`Request`]: where a file is, and what of it is wanted. Goes out: its [`Reply`],
//! decoded with checks; or a [`Failure`], after which another process is there for the next request.
//!
//! ```text
//! rmap ── request ──▶ opener ── descriptors, task ──▶ reader ── answer ──▶ rmap
//!                     privileged, parses nothing       parses, may do nothing else
//! ```
//!
//! Both are this program again (`/proc/self/exe`), so that their memory is clean. Whatever a file
//! does to one of them (a file system that never answers, memory or time without bound, a panic)
//! costs that process and the file's names; rmap waits until a deadline, ends both, and says which
//! file could not be read. When rmap ends, they end.
//!
//! * `socket`: messages with descriptors and deadlines;
//! * [`protocol`]: what is asked and answered;
//! * `opener`, `reader`: the two processes' work;
//! * `packages`: the lists of dpkg;
//! * `sandbox`: what the reader gives up;
//! * `serve`: their loops;
//! * [`names`]: names at the end of a session, several files at once.

mod image;
pub mod names;
mod needs;
mod opener;
mod packages;
pub mod protocol;
mod reader;
mod sandbox;
mod serve;
mod socket;
mod starved;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use self::protocol::{ANSWER_MAX, Answer, Request};
use self::reader::Reader;
use self::socket::{Channel, Message};
use self::starved::Starved;

pub use self::serve::{ARGUMENT, serve};

/// Time that files may take beyond their deadlines, in one session, until none is waited for any
/// longer than [`HURRY`].
const LATE_MAX: Duration = Duration::from_secs(3);
/// What is left for each request then.
const HURRY: Duration = Duration::from_millis(50);

/// Whether this program can be started again as its own worker.
static PROCESSES: AtomicBool = AtomicBool::new(false);

/// Lets workers be processes. For the program whose `main` calls [`serve`]; elsewhere (tests of the
/// library) requests are done in this process.
pub fn use_processes() {
    PROCESSES.store(true, Relaxed);
}

/// What came of a request.
#[derive(Debug)]
pub struct Reply {
    /// The answer.
    pub answer: Answer,
    /// The bytes behind it.
    pub body: Vec<u8>,
    /// A sealed copy of parts of the file.
    pub copy: Option<OwnedFd>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file could not be opened or read.
    #[error("{0}")]
    Refused(String),
    /// It took too long: a file system that does not answer, or a file that is too much.
    #[error("reading it took longer than {} ms", .0.as_millis())]
    Late(Duration),
    /// The reader ended: the file is too much for its limits.
    #[error("reading it took more memory or time than is given to one file, or its reader failed")]
    Died,
    /// What came is no answer.
    #[error("what its reader sent is no answer: {0}")]
    Malformed(#[from] protocol::Malformed),
    /// There is no worker.
    #[error("its reader cannot be started: {0}")]
    NoWorker(#[source] io::Error),
}

impl Failure {
    /// The file itself did it, and will do it again.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        match self {
            Self::Refused(_) | Self::NoWorker(_) => false,
            Self::Late(_) | Self::Died | Self::Malformed(_) => true,
        }
    }
}

/// Asks processes that open and read foreign files.
#[derive(Debug, Default)]
pub struct Worker {
    pair: Option<Pair>,
    /// Where there are no processes.
    here: Reader,
    /// Processes that were told to end, until they have.
    ending: Vec<Child>,
    /// What was waited in vain.
    late: Duration,
}

/// The two processes. The opener is the child; its end is the reader's end.
#[derive(Debug)]
struct Pair {
    opener: Child,
    requests: Channel,
    answers: Channel,
    starved: Arc<Starved>,
}

impl Worker {
    /// Starts the processes, so that the first request need not wait for that. If they cannot be
    /// started, the requests say so.
    pub fn start(&mut self) {
        if PROCESSES.load(Relaxed) && self.pair.is_none() {
            self.pair = Pair::start().ok();
        }
    }

    /// Asks, and waits for the answer no longer than `time`. `copy` goes along with the request.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask(
        &mut self,
        request: &Request,
        copy: Option<BorrowedFd<'_>>,
        time: Duration,
    ) -> Result<Reply, Failure> {
        if !PROCESSES.load(Relaxed) {
            return self.do_here(request, copy);
        }
        match self.ask_once(request, copy, time) {
            // Somebody else may have ended it. A file that does it does it again; of a table the
            // file would have to be read again too.
            Err(Failure::Died) if !matches!(request, Request::Table) => {
                self.ask_once(request, copy, time)
            }
            answer => answer,
        }
    }

    fn ask_once(
        &mut self,
        request: &Request,
        copy: Option<BorrowedFd<'_>>,
        time: Duration,
    ) -> Result<Reply, Failure> {
        self.ending.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        let time = if self.late < LATE_MAX { time } else { time.min(HURRY) };
        let begun = Instant::now();
        let pair = match self.pair.take() {
            Some(pair) => pair,
            None => Pair::start().map_err(Failure::NoWorker)?,
        };
        let answer = match pair.ask(request, copy, begun + time) {
            Ok(message) => reply(message, request),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.late += begun.elapsed().min(time);
                Err(Failure::Late(time))
            }
            Err(_) => Err(Failure::Died),
        };
        match &answer {
            Ok(_) | Err(Failure::Refused(_)) => self.pair = Some(pair),
            Err(_) => self.ending.push(pair.end()),
        }
        answer
    }

    fn do_here(
        &mut self,
        request: &Request,
        copy: Option<BorrowedFd<'_>>,
    ) -> Result<Reply, Failure> {
        let copy = copy.map(|copy| copy.try_clone_to_owned()).transpose();
        let copy = copy.map_err(Failure::NoWorker)?;
        let (answer, body, file) = match opener::open(request.clone(), copy) {
            opener::Done::Answer(answer, body) => (answer, body, None),
            opener::Done::Task(task, files) => self.here.run(task, files),
        };
        let bytes = protocol::encode(&answer, &body);
        reply(Message { bytes, files: file.into_iter().collect() }, request)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(pair) = self.pair.take() {
            drop(pair.end());
        }
    }
}

impl Pair {
    fn start() -> io::Result<Self> {
        let (requests, input) = UnixStream::pair()?;
        let (answers, output) = UnixStream::pair()?;
        let opener = Command::new("/proc/self/exe")
            .arg0("rmap")
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            // A signal of the terminal is rmap's business.
            .process_group(0)
            .stdin(OwnedFd::from(input))
            .stdout(OwnedFd::from(output))
            .stderr(Stdio::null())
            .spawn()?;
        let starved = Arc::new(Starved::of(opener.id()));
        let channel = |socket: UnixStream| Channel::to(OwnedFd::from(socket), Arc::clone(&starved));
        let (requests, answers) = (channel(requests), channel(answers));
        Ok(Self { opener, requests, answers, starved })
    }

    fn ask(
        &self,
        request: &Request,
        copy: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> io::Result<Message> {
        let files: Vec<BorrowedFd<'_>> = copy.into_iter().collect();
        self.starved.begin();
        self.requests.send(&protocol::encode(request, &[]), &files, Some(deadline))?;
        // What the opener cannot open, it answers itself; so there is one message on the way of its
        // answers for every request: that one, or one that says who answers.
        let message = self.requests.receive(ANSWER_MAX, Some(deadline))?;
        if message.bytes.is_empty() {
            return self.answers.receive(ANSWER_MAX, Some(deadline));
        }
        Ok(message)
    }

    /// Ends both. They are gone when the kernel lets them go, which a file system may delay; nobody
    /// waits for that.
    fn end(mut self) -> Child {
        let _ = self.opener.kill();
        let _ = self.opener.try_wait();
        self.opener
    }
}

/// Checks an answer.
fn reply(message: Message, request: &Request) -> Result<Reply, Failure> {
    let (answer, body) = protocol::answer(&message.bytes, request)?;
    if let Answer::Refused(why) = answer {
        return Err(Failure::Refused(why));
    }
    let copy = message.files.into_iter().next().filter(image::is_sealed);
    Ok(Reply { answer, body: body.to_vec(), copy })
}

#[cfg(test)]
mod tests;
