//! Marks: names that somebody gives to moments of a running session.
//!
//! Comes in: `rmap mark NAME` on an abstract socket (`unix(7)`) that carries rmap's process id, and
//! `SIGUSR1`. Goes out: marks for the session's thread, which answers with their times. No file is
//! made, and the socket ends with rmap. Who may mark: root, rmap's own user, and one more user that the
//! caller names; by the kernel's word (`SO_PEERCRED`).

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::mpsc as sync;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The socket's name is this and a process id.
const PREFIX: &str = "rmap-session/";
/// A mark's name has so many bytes at most.
pub const NAME_MAX: usize = 64;
/// Whoever has connected has so long to send a name.
const PATIENCE: Duration = Duration::from_millis(300);
/// The session answers within this time, or not at all.
const ANSWER: Duration = Duration::from_secs(5);

/// A moment that is to have a name.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) done: Done,
}

/// Who waits for the mark's time.
#[derive(Debug)]
pub(super) struct Done(Option<sync::Sender<u64>>);

impl Done {
    /// The time after the start, ns.
    pub(super) fn answer(self, at_ns: u64) {
        // Whoever has asked may have gone.
        let _ = self.0.map(|done| done.send(at_ns));
    }
}

/// Where marks come from.
pub(super) struct Marks {
    asked: UnboundedReceiver<Mark>,
    signal: Option<Signal>,
    signals: u64,
}

impl Marks {
    /// Listens from now on, to one more user too. Where the socket cannot be had, why.
    pub(super) fn listen(user: Option<u32>) -> (Self, io::Result<()>) {
        let (sender, asked) = unbounded_channel();
        let mut allowed = vec![0, nix::unistd::geteuid().as_raw()];
        allowed.extend(user);
        let served = serve(allowed, sender);
        let signal = signal(SignalKind::user_defined1()).ok();
        (Self { asked, signal, signals: 0 }, served)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Mark {
        let Self { asked, signal, signals } = self;
        let signalled = async {
            let came = match signal {
                Some(signal) => signal.recv().await.is_some(),
                None => false,
            };
            if !came {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            Some(mark) = asked.recv() => mark,
            () = signalled => {
                *signals += 1;
                Mark { name: format!("signal-{signals}"), done: Done(None) }
            }
        }
    }
}

fn address(pid: u32) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{PREFIX}{pid}"))
}

/// The socket, and a thread that serves it.
fn serve(allowed: Vec<u32>, sender: UnboundedSender<Mark>) -> io::Result<()> {
    let listener = UnixListener::bind_addr(&address(std::process::id())?)?;
    thread::Builder::new().name("rmap-marks".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // One that fails is its own loss.
            let _ = one(stream, &allowed, &sender);
        }
    })?;
    Ok(())
}

/// One name, and one line back.
fn one(mut stream: UnixStream, allowed: &[u32], sender: &UnboundedSender<Mark>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let peer = getsockopt(&stream, PeerCredentials)?;
    if !allowed.contains(&peer.uid()) {
        return stream.write_all(b"no: this session belongs to another user\n");
    }
    let mut bytes = Vec::new();
    (&stream).take(NAME_MAX as u64 + 1).read_to_end(&mut bytes)?;
    let fits =
        |name: &String| (1..=NAME_MAX).contains(&name.len()) && !name.contains(char::is_control);
    let Some(name) = String::from_utf8(bytes).ok().filter(fits) else {
        return stream.write_all(b"no: that is no name\n");
    };
    let (done, answer) = sync::channel();
    let mark = Mark { name, done: Done(Some(done)) };
    let answer = sender.send(mark).ok().and_then(|()| answer.recv_timeout(ANSWER).ok());
    match answer {
        Some(at_ns) => stream.write_all(format!("{at_ns}\n").as_bytes()),
        None => stream.write_all(b"no: the session is over\n"),
    }
}

/// The sessions that run here, by rmap's process ids.
///
/// # Errors
/// The kernel's list of sockets cannot be read.
pub fn sessions() -> io::Result<Vec<u32>> {
    // The path is the last column; abstract names begin with @ there (kernel `unix_seq_show`).
    let list = fs::read_to_string("/proc/net/unix")?;
    let pid = |line: &str| line.rsplit_once('@')?.1.strip_prefix(PREFIX)?.parse().ok();
    let mut pids: Vec<u32> = list.lines().filter_map(pid).collect();
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Gives the present moment of a session a name. Gives back its time after the session's start, ns.
///
/// # Errors
/// There is no such session, or what it answers.
pub fn mark(pid: u32, name: &str) -> io::Result<u64> {
    let mut stream = UnixStream::connect_addr(&address(pid)?)?;
    stream.set_read_timeout(Some(2 * ANSWER))?;
    stream.write_all(name.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut line = String::new();
    stream.take(200).read_to_string(&mut line)?;
    let line = line.trim();
    line.parse().map_err(|_| io::Error::other(line.trim_start_matches("no: ").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_goes_to_the_session_and_its_time_comes_back() {
        let (sender, mut asked) = unbounded_channel();
        serve(vec![nix::unistd::geteuid().as_raw()], sender).unwrap();
        let session = thread::spawn(move || {
            let mark: Mark = asked.blocking_recv().unwrap();
            mark.done.answer(17);
            mark.name
        });
        let pid = std::process::id();
        assert!(sessions().unwrap().contains(&pid));
        assert_eq!(mark(pid, "loaded").unwrap(), 17);
        assert_eq!(session.join().unwrap(), "loaded");
        let refused = |name: &str| mark(pid, name).unwrap_err().to_string();
        assert_eq!(refused(&"x".repeat(NAME_MAX + 1)), "that is no name");
        assert_eq!(refused("a\nb"), "that is no name");
        assert_eq!(refused("late"), "the session is over");
    }
}
