//! `/proc/PID/status`: what the kernel says of a process or a thread, line by line.
//!
//! Comes in: the file, or its text. Goes out: single fields. The crate `procfs` parses all of its lines and
//! fails if one is missing, as several are once a process gives up its memory (kernel `proc_pid_status`).

use std::io;

/// The text of the file.
#[derive(Clone, Debug, Default)]
pub struct Status(String);

impl Status {
    /// Of a process, by its id or that of one of its threads.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::at(&format!("/proc/{pid}/status"))
    }

    /// Of a thread of a process.
    ///
    /// # Errors
    /// There is no such thread.
    pub fn of_thread(pid: u32, tid: u32) -> io::Result<Self> {
        Self::at(&format!("/proc/{pid}/task/{tid}/status"))
    }

    /// Of the calling thread.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        Self::at("/proc/thread-self/status")
    }

    fn at(path: &str) -> io::Result<Self> {
        super::read_text(path).map(Self)
    }

    /// What stands behind a name, without blanks around it; `None` where there is no such line.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines().filter_map(|line| line.strip_prefix(name));
        lines.find_map(|rest| rest.strip_prefix(':')).map(str::trim)
    }

    /// A field that is a decimal number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        self.field(name)?.parse().ok()
    }

    /// A field of bits in hex, such as `CapEff` and `SigPnd`.
    #[must_use]
    pub fn bits(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.field(name)?, 16).ok()
    }

    /// A field of a size, in bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<u64> {
        self.field(name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }
}

#[cfg(test)]
impl From<&str> for Status {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_their_whole_names() {
        let text = "Name:\tState: x\nState:\tS (sleeping)\nTgid:\t12\nNStgid:\t12\t1\n\
                    SigPnd:\t0000000000040000\nVmHWM:\t    2048 kB\n";
        let status = Status::from(text);
        assert_eq!(status.field("State"), Some("S (sleeping)"));
        assert_eq!((status.number("Tgid"), status.number("NStgid")), (Some(12), None));
        assert_eq!(status.field("NStgid"), Some("12\t1"));
        assert_eq!((status.bits("SigPnd"), status.bytes("VmHWM")), (Some(1 << 18), Some(2 << 20)));
        assert_eq!((status.field("Tgi"), status.bytes("Tgid")), (None, None));
        assert!(Status::own().unwrap().number("Pid").is_some());
        assert!(Status::of(u32::MAX).is_err());
    }
}
