//! Why a command could not be launched or followed, and the exit status that says so.

use std::ffi::OsString;
use std::io;

/// Why a command could not be launched or followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such program.
    #[error("cannot run {program:?}: command not found; check the name and PATH")]
    NotFound {
        /// As it was asked for.
        program: OsString,
    },
    /// The file is there, but what should interpret it is not.
    #[error(
        "cannot run {program:?}: the file is there, but not the interpreter or loader that it \
         names; look at its first line, or with `file`"
    )]
    NoInterpreter {
        /// As it was asked for.
        program: OsString,
    },
    /// A directory.
    #[error("cannot run {program:?}: it is a directory; name a program")]
    Directory {
        /// As it was asked for.
        program: OsString,
    },
    /// Found, but the kernel refuses to execute it.
    #[error("cannot run {program:?}: {source}{}", hint(.source))]
    NotExecutable {
        /// As it was asked for.
        program: OsString,
        /// What execve said.
        source: io::Error,
    },
    /// The program's name or an argument holds a NUL byte.
    #[error("cannot run {program:?}: its name or an argument holds a NUL byte; remove it")]
    NulByte {
        /// As it was asked for.
        program: OsString,
    },
    /// No such user.
    #[error("cannot run as user {name:?}: {reason}; see `getent passwd`")]
    User {
        /// As it was asked for.
        name: String,
        /// What the user database said.
        reason: String,
    },
    /// The kernel refuses the change of user.
    #[error("cannot become user {uid}, group {gid}: {source}; this needs root")]
    Credentials {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// What setgroups, setgid or setuid said.
        source: io::Error,
    },
    /// A signal ended the command's process before it could exec.
    #[error("signal {signal} ended {program:?} before it started")]
    KilledBefore {
        /// As it was asked for.
        program: OsString,
        /// Which one.
        signal: i32,
    },
    /// No process or pipe for the command.
    #[error("cannot start a process for the command: {source}; check the limits (`ulimit -a`)")]
    Fork {
        /// What fork or pipe2 said.
        source: io::Error,
    },
    /// No tracer thread.
    #[error("cannot start the tracer thread: {source}; check the limits (`ulimit -a`)")]
    Thread {
        /// What came.
        source: io::Error,
    },
    /// ptrace is refused.
    #[error(
        "cannot trace the command by ptrace: {source}; this needs CAP_SYS_PTRACE or ptrace_scope \
         below 3, and rmap must not itself run under strace or a debugger that follows children"
    )]
    Seize {
        /// What `PTRACE_SEIZE` said.
        source: io::Error,
    },
    /// Waiting for tracees failed.
    #[error("waiting for the traced processes failed: {source}; they go on without rmap")]
    Wait {
        /// What waitid said.
        source: io::Error,
    },
    /// The tracer thread panicked: a defect of rmap.
    #[error("the tracer thread panicked, which is a defect; the traced processes go on alone")]
    Panicked,
}

impl Error {
    /// The exit status for it, as a shell or env(1) has it: 127 not found, 126 found but not
    /// executable, 128 + N ended by signal N, 125 for trouble of rmap's own.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } | Self::NoInterpreter { .. } => 127,
            Self::Directory { .. } | Self::NotExecutable { .. } => 126,
            Self::KilledBefore { signal, .. } => 128 | (*signal as u8 & 0x7f),
            _ => 125,
        }
    }
}

/// What to do next, by what execve said.
fn hint(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EACCES) => "; is it executable (chmod +x), also for the user it runs as?",
        Some(libc::ENOEXEC) => "; a script needs a first line such as #!/bin/sh",
        Some(libc::ETXTBSY) => "; somebody has it open for writing",
        Some(libc::E2BIG) => "; give it fewer or shorter arguments",
        _ => "",
    }
}
