//! What tracefs says of the kernel's tracepoints.
//!
//! Comes in: a category and a name, as in `events/exceptions/page_fault_user`. Goes out: the id
//! that `perf_event_open` takes, and where the fields of a record lie.
//!
//! tracefs need not be mounted: where it is not, rmap opens an instance of its own that nobody
//! else sees.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::detached;

/// No file of a tracepoint is as long as that.
const MAX_FILE: u64 = 1 << 20;

/// Why tracefs does not help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is neither mounted nor can an instance be opened.
    #[error(
        "cannot open tracefs: it is not mounted, and opening an instance failed: {0}; run as \
         root, on a kernel with CONFIG_FTRACE=y"
    )]
    Open(io::Error),
    /// There is no such tracepoint.
    #[error("this kernel has no tracepoint {0}")]
    NoTracepoint(String),
    /// A file of it cannot be read.
    #[error("cannot read {path} in tracefs: {source}; run as root")]
    Read {
        /// Below the root of tracefs.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of it is not as documented.
    #[error("cannot understand {0} in tracefs; please report this with the kernel's version")]
    Text(String),
}

/// An open tracefs.
#[derive(Debug)]
pub struct Tracefs {
    root: OwnedFd,
    mounted_at: Option<PathBuf>,
}

/// How a tracepoint's record is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The tracepoint's id.
    pub id: u32,
    /// The fields in their order, the common ones first.
    pub fields: Vec<Field>,
}

/// One field of a tracepoint's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Bytes from the start of the record.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Whether it is a signed number.
    pub signed: bool,
}

impl Format {
    /// A field by its name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Opens tracefs: where it is mounted, else an instance of our own.
///
/// # Errors
/// It is not mounted, and no instance can be opened.
pub fn open() -> Result<Tracefs, Error> {
    for path in mounted() {
        if let Ok(root) = File::open(&path) {
            return Ok(Tracefs { root: root.into(), mounted_at: Some(path) });
        }
    }
    let root = detached::open(c"tracefs").map_err(Error::Open)?;
    Ok(Tracefs { root, mounted_at: None })
}

/// Where it is mounted as a whole.
fn mounted() -> Vec<PathBuf> {
    let mounts = procfs::process::Process::myself().and_then(|me| me.mountinfo());
    let is_whole = |root: &str| root == "/";
    mounts
        .into_iter()
        .flatten()
        .filter(|mount| mount.fs_type == "tracefs" && is_whole(&mount.root))
        .map(|mount| mount.mount_point)
        .collect()
}

impl Tracefs {
    /// Where it is mounted; `None`: this is an instance of our own.
    #[must_use]
    pub fn mounted_at(&self) -> Option<&Path> {
        self.mounted_at.as_deref()
    }

    /// The id of a tracepoint, for `perf_event_open`.
    ///
    /// # Errors
    /// There is no such tracepoint, or its file cannot be read.
    pub fn tracepoint_id(&self, category: &str, name: &str) -> Result<u32, Error> {
        let (path, text) = self.read(category, name, "id")?;
        text.trim().parse().map_err(|_| Error::Text(path))
    }

    /// How a tracepoint's record is laid out.
    ///
    /// # Errors
    /// There is no such tracepoint, or its file cannot be read.
    pub fn tracepoint_format(&self, category: &str, name: &str) -> Result<Format, Error> {
        let (path, text) = self.read(category, name, "format")?;
        parse_format(&text).ok_or(Error::Text(path))
    }

    fn read(&self, category: &str, name: &str, file: &str) -> Result<(String, String), Error> {
        let plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        let missing = || Error::NoTracepoint(format!("{category}:{name}"));
        if !plain(category) || !plain(name) {
            return Err(missing());
        }
        let path = format!("events/{category}/{name}/{file}");
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut text = String::new();
        openat(&self.root, path.as_str(), flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|fd| File::from(fd).take(MAX_FILE).read_to_string(&mut text))
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => missing(),
                _ => Error::Read { path: path.clone(), source },
            })?;
        Ok((path, text))
    }
}

/// Lines as `field:unsigned long address; offset:8; size:8; signed:0;`, below `ID: 12`.
fn parse_format(text: &str) -> Option<Format> {
    let mut id = None;
    let mut fields = Vec::new();
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("ID:") {
            id = number.trim().parse().ok();
        }
        if let Some(rest) = line.trim_start().strip_prefix("field:") {
            fields.push(parse_field(rest)?);
        }
    }
    Some(Format { id: id?, fields })
}

fn parse_field(text: &str) -> Option<Field> {
    let mut parts = text.split(';').map(str::trim);
    let declaration = parts.next()?;
    let mut field = Field { name: String::new(), offset: 0, size: 0, signed: false };
    // `char comm[16]`, `struct x *p`: the name is the last word before any bracket.
    let words = declaration.split('[').next()?.trim_end();
    let start =
        words.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    field.name = words.get(start..)?.to_owned();
    let (mut offset, mut size) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = value.parse().ok(),
            Some(("size", value)) => size = value.parse().ok(),
            Some(("signed", value)) => field.signed = value == "1",
            _ => {}
        }
    }
    (field.offset, field.size) = (offset?, size?);
    (!field.name.is_empty()).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "name: rss_stat\nID: 461\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
        \tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
        \tfield:const char *name;\toffset:24;\tsize:8;\tsigned:0;\n\n\
        print fmt: \"field: x\"\n";

    #[test]
    fn a_format_is_read() {
        let format = parse_format(TEXT).unwrap();
        let names: Vec<&str> = format.fields.iter().map(|f| f.name.as_str()).collect();
        assert_eq!((format.id, names), (461, vec!["common_type", "common_pid", "comm", "name"]));
        let comm = format.field("comm").unwrap();
        assert_eq!((comm.offset, comm.size, comm.signed), (8, 16, false));
        assert!(format.field("common_pid").unwrap().signed);
        assert_eq!(parse_format("field:int a;"), None);
        assert_eq!(parse_format(""), None);
    }

    #[test]
    fn the_running_kernel() {
        let tracefs = match open() {
            Ok(tracefs) => tracefs,
            Err(e) => {
                assert!(!nix::unistd::geteuid().is_root(), "{e}");
                eprintln!("not run without root: {e}");
                return;
            }
        };
        let id = tracefs.tracepoint_id("kmem", "rss_stat").unwrap();
        let format = tracefs.tracepoint_format("kmem", "rss_stat").unwrap();
        assert_eq!(format.id, id);
        assert_eq!(format.field("size").map(|f| (f.offset, f.signed)), Some((24, true)));
        for (category, name) in [("kmem", "nonesuch"), ("..", "kmem"), ("kmem/x", ""), ("", "")] {
            let error = tracefs.tracepoint_id(category, name).unwrap_err();
            assert!(matches!(error, Error::NoTracepoint(_)), "{error}");
        }
    }

    #[test]
    fn an_instance_of_our_own_is_mounted_nowhere() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not run without root");
            return;
        }
        let before = std::fs::read("/proc/self/mountinfo").unwrap();
        let root = detached::open(c"tracefs").unwrap();
        let tracefs = Tracefs { root, mounted_at: None };
        assert!(tracefs.tracepoint_id("sched", "sched_process_exit").is_ok());
        assert_eq!(std::fs::read("/proc/self/mountinfo").unwrap(), before);
    }

    proptest! {
        #[test]
        fn any_text_is_a_format_or_none(text in "(ID: [0-9]{0,12}\n)?(\tfield:[ -~é]{0,30};offset:[0-9]{0,11};size:[0-9]{0,11};\n){0,4}") {
            let _ = parse_format(&text);
        }
    }
}
