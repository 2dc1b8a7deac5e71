//! The command's process, from fork to exec.
//!
//! Comes in: a [`Launch`]. Goes out: a child that waits for a word before it execs, and if it
//! could not exec, the reason. All that needs memory or locks is prepared before the fork, for
//! between fork and exec only async-signal-safe calls are allowed.

use std::cell::RefCell;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::credentials::Credentials;
use super::{Error, Launch, inherited, sys};
use crate::live::{privileges, terminal};

/// Where execvp looks if there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// keyctl(2): a new session keyring.
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}

/// All that the child needs, prepared.
pub(super) struct Plan {
    program: OsString,
    /// The files to try, in this order.
    candidates: Vec<CString>,
    args: Vec<CString>,
    /// `None`: rmap's own.
    environment: Option<Vec<CString>>,
    credentials: Option<Credentials>,
    own_session: bool,
    /// The terminal of that session, until the child has it.
    terminal: RefCell<Option<Arc<OwnedFd>>>,
    /// Which descriptors the terminal becomes.
    standard: Vec<RawFd>,
    /// What it reads and where it writes, where that is not rmap's own.
    streams: Option<(File, Arc<OwnedFd>)>,
}

/// The forked child, waiting to be told to exec.
pub(super) struct Child {
    pub(super) pid: u32,
    go: OwnedFd,
    failure: OwnedFd,
}

/// Which step failed in the child.
const CREDENTIALS: i32 = 1;
const EXEC: i32 = 2;

impl Plan {
    /// Prepares a launch.
    pub(super) fn new(launch: &Launch) -> Result<Self, Error> {
        let program = &launch.program;
        let nul = |_| Error::NulByte { program: program.clone() };
        let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
        let candidates = candidates(program, &path)
            .into_iter()
            .map(CString::new)
            .collect::<Result<_, _>>()
            .map_err(nul)?;
        let args = std::iter::once(program)
            .chain(&launch.args)
            .map(|arg| CString::new(arg.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(nul)?;
        let credentials = launch.credentials.clone();
        let changed = credentials.as_ref().map(|credentials| &credentials.environment[..]);
        let changes = changed.is_some() || !launch.variables.is_empty();
        let environment = changes
            .then(|| environment(changed.unwrap_or_default(), &launch.variables))
            .transpose()
            .map_err(nul)?;
        let terminal = launch.terminal.clone();
        let null = |output| File::open("/dev/null").map(|null| (null, output));
        let streams = launch.output.clone().map(null).transpose();
        Ok(Self {
            streams: streams.map_err(|source| Error::Fork { source })?,
            program: program.clone(),
            candidates,
            args,
            environment,
            credentials,
            own_session: launch.own_session,
            standard: terminal.as_ref().map_or_else(Vec::new, |_| terminal::standard_descriptors()),
            terminal: RefCell::new(terminal),
        })
    }

    /// Forks. All signals must be blocked in this thread.
    pub(super) fn start(&self) -> Result<Child, Error> {
        let pipe = || {
            nix::unistd::pipe2(OFlag::O_CLOEXEC)
                .map_err(|errno| Error::Fork { source: errno.into() })
        };
        let (go_read, go) = pipe()?;
        let (failure, failure_write) = pipe()?;
        let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
            words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
        };
        let args = pointers(&self.args);
        let own = self.environment.as_deref().map(pointers);
        // SAFETY: it is read, not changed; nothing of rmap changes the environment.
        let environment = own.as_ref().map_or_else(|| unsafe { environ }, |own| own.as_ptr());
        // Without this copy the terminal ends with the command.
        let terminal = self.terminal.take();
        let descriptor = terminal.as_ref().map(|terminal| terminal.as_raw_fd());
        // SAFETY: the child only calls `run`, which is made of async-signal-safe calls and never
        // returns.
        match unsafe { libc::fork() } {
            -1 => Err(Error::Fork { source: io::Error::last_os_error() }),
            0 => {
                // SAFETY: close takes a number. The child's own copy must go, or the end of rmap
                // would not show as the end of the pipe.
                unsafe { libc::close(go.as_raw_fd()) };
                self.run(
                    &args,
                    environment,
                    descriptor,
                    go_read.as_raw_fd(),
                    failure_write.as_raw_fd(),
                )
            }
            pid => Ok(Child { pid: pid.unsigned_abs(), go, failure }),
        }
    }

    /// The child's part.
    fn run(
        &self,
        args: &[*const libc::c_char],
        environment: *const *const libc::c_char,
        terminal: Option<RawFd>,
        go: RawFd,
        failure: RawFd,
    ) -> ! {
        let ignored = inherited::ignored();
        for signal in sys::ALL_SIGNALS {
            sys::set_ignored(signal, ignored & (1 << (signal - 1)) != 0);
        }
        sys::set_blocked_signals(inherited::blocked());
        if self.own_session {
            self.leave_session(terminal);
        }
        if let Some((null, output)) = &self.streams {
            // SAFETY: the calls take numbers only.
            unsafe {
                libc::dup2(null.as_raw_fd(), 0);
                libc::dup2(output.as_raw_fd(), 1);
                libc::dup2(output.as_raw_fd(), 2);
            }
        }
        if let Some(errno) = self.become_user() {
            give_up(failure, CREDENTIALS, errno);
        }
        let mut word = 0_u8;
        // SAFETY: read writes at most one byte to `word`.
        while unsafe { libc::read(go, (&raw mut word).cast(), 1) } != 1 {
            if errno() != libc::EINTR {
                // rmap is gone: nobody waits for the command.
                // SAFETY: _exit runs nothing of this process.
                unsafe { libc::_exit(127) };
            }
        }
        // As execvp(3): go on at what another directory may have, but tell of a refusal.
        let mut reason = libc::ENOENT;
        for candidate in &self.candidates {
            // SAFETY: all strings end with NUL, both lists with a null pointer; environ was not
            // changed since the fork, for this process has no other thread.
            unsafe { libc::execve(candidate.as_ptr(), args.as_ptr(), environment) };
            match errno() {
                libc::EACCES => reason = libc::EACCES,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                other => give_up(failure, EXEC, other),
            }
        }
        give_up(failure, EXEC, reason)
    }

    /// Leaves the session of rmap's caller, whose terminal the command must not be able to type into,
    /// and makes a terminal of its own, if there is one, that of the new session.
    fn leave_session(&self, terminal: Option<RawFd>) {
        // SAFETY: the calls take numbers only.
        unsafe {
            libc::setsid();
            if let Some(terminal) = terminal {
                libc::ioctl(terminal, libc::TIOCSCTTY, 0);
                for descriptor in &self.standard {
                    libc::dup2(terminal, *descriptor);
                }
            }
        }
    }

    /// Changes to the asked user; gives errno if that fails. No capability of rmap's goes to the
    /// command but by root's own rights. The system calls are made directly: glibc's functions would
    /// look for other threads, which a forked child does not have.
    fn become_user(&self) -> Option<i32> {
        privileges::clear_ambient();
        let own = privileges::get().unwrap_or_default();
        let Some(Credentials { uid, gid, groups, .. }) = self.credentials.as_ref() else {
            // A refusal leaves what was there; the bits that matter cannot be refused.
            let _ = privileges::set(privileges::Sets { inheritable: 0, ..own });
            return None;
        };
        if *uid != 0 {
            privileges::clear_bounding();
        }
        // SAFETY: the call takes numbers only. The keys of rmap's caller are not the command's.
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
        // SAFETY: setgroups reads `len` numbers, the others take numbers only.
        let done = unsafe {
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) == 0
                && libc::syscall(libc::SYS_setgid, *gid) == 0
                && libc::syscall(libc::SYS_setuid, *uid) == 0
        };
        if !done {
            return Some(errno());
        }
        let left = match uid {
            0 => privileges::Sets { inheritable: 0, ..own },
            _ => privileges::Sets::default(),
        };
        privileges::set(left).err().map(|error| error.raw_os_error().unwrap_or(libc::EPERM))
    }

    /// Why the child ended without exec, with `signal` if one killed it.
    pub(super) fn failure(&self, child: Child, signal: Option<i32>) -> Error {
        let program = self.program.clone();
        let mut message = [0; 8];
        let told = File::from(child.failure).read_exact(&mut message).is_ok();
        let [a, b, c, d, e, f, g, h] = message;
        let (step, errno) = (i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
        let source = io::Error::from_raw_os_error(errno);
        match (told, step, &self.credentials, errno) {
            (true, CREDENTIALS, Some(credentials), _) => {
                Error::Credentials { uid: credentials.uid, gid: credentials.gid, source }
            }
            (true, _, _, libc::ENOENT | libc::ENOTDIR) if self.found().is_some() => {
                Error::NoInterpreter { program }
            }
            (true, _, _, libc::ENOENT | libc::ENOTDIR) => Error::NotFound { program },
            (true, ..) if self.found().is_some_and(Path::is_dir) => Error::Directory { program },
            (true, ..) => Error::NotExecutable { program, source },
            (false, ..) => Error::KilledBefore { program, signal: signal.unwrap_or(libc::SIGKILL) },
        }
    }

    /// The first file that is there.
    fn found(&self) -> Option<&Path> {
        let paths =
            self.candidates.iter().map(|file| Path::new(OsStr::from_bytes(file.as_bytes())));
        paths.into_iter().find(|path| path.exists())
    }
}

impl Child {
    /// Tells the child to exec.
    pub(super) fn go(&self) {
        // If the child is gone, its end will be seen.
        let _ = nix::unistd::write(&self.go, &[1]);
    }
}

/// rmap's environment, with what a login of the user sets, and other variables.
fn environment(
    login: &[(&str, OsString)],
    variables: &[(OsString, OsString)],
) -> Result<Vec<CString>, std::ffi::NulError> {
    let is_set = |name: &OsString| {
        login.iter().any(|(set, _)| name == set) || variables.iter().any(|(set, _)| name == set)
    };
    let kept = std::env::vars_os().filter(|(name, _)| !is_set(name));
    let login = login.iter().map(|(name, value)| (OsString::from(name), value.clone()));
    let set = login.chain(variables.iter().cloned());
    kept.chain(set)
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect()
}

/// The files that execvp(3) would try.
fn candidates(program: &OsStr, path: &OsStr) -> Vec<Vec<u8>> {
    let name = program.as_bytes();
    if name.is_empty() {
        return Vec::new();
    }
    if name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    let join = |directory: &[u8]| match directory {
        [] => name.to_vec(),
        [.., b'/'] => [directory, name].concat(),
        _ => [directory, b"/", name].concat(),
    };
    path.as_bytes().split(|&byte| byte == b':').map(join).collect()
}

/// Tells the parent what failed, and ends the child.
fn give_up(failure: RawFd, step: i32, errno: i32) -> ! {
    let [[a, b, c, d], [e, f, g, h]] = [step.to_ne_bytes(), errno.to_ne_bytes()];
    let message = [a, b, c, d, e, f, g, h];
    // SAFETY: write reads the 8 bytes of `message`; _exit runs nothing of this process.
    unsafe {
        libc::write(failure, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// The last system call's errno.
fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(program: &str, path: &str) -> Vec<String> {
        let found = candidates(program.as_ref(), path.as_ref());
        found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn candidates_are_those_of_execvp() {
        assert_eq!(names("a/b", "/bin"), ["a/b"]);
        assert_eq!(names("ls", "/bin:/usr/bin/"), ["/bin/ls", "/usr/bin/ls"]);
        assert_eq!(names("ls", ":/bin"), ["ls", "/bin/ls"]);
        assert_eq!(names("", "/bin"), [""; 0]);
    }
}
