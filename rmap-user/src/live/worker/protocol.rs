//! What rmap asks of its worker, and what the worker answers.
//!
//! Comes in: a [`Request`] or an [`Answer`], or the bytes of one. Goes out: the other. A message is
//! the length of its JSON (32 bits, little-endian), the JSON, and bytes that are none of it: a table,
//! names, a text. Whoever decodes one trusts nothing: the reader of foreign files may have been
//! taken over by one of them, so lengths, counts and texts have limits, and what is wrong is an
//! error that names no byte of it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::packages;
use crate::report::Frame;
use crate::runtime::python::Found;
use crate::symbol::Stamp;
use crate::symbol::allocator::{FUNCTIONS_MAX, Shape};
use crate::symbol::elf::Headers;

/// Places to which signal handlers return, of one file; the C library has one or two.
pub const TRAMPOLINES_MAX: usize = 64;

/// Bytes of a request at most.
pub const REQUEST_MAX: usize = 8 << 20;
/// Bytes of an answer at most: the names of a large program, or its table.
pub const ANSWER_MAX: usize = 96 << 20;
/// Bytes of why something is not read at most.
const WHY_MAX: usize = 256;
/// Bytes of one name in an answer at most.
const NAME_MAX: usize = 64 << 10;

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The file of a mapping, from an address to another; if that cannot be opened, what stands at
    /// `path` below the process's root and has this inode.
    Mapping {
        /// The process, or a thread of it.
        pid: u32,
        /// First address.
        start: u64,
        /// The address behind the last.
        end: u64,
        /// As maps shows it.
        inode: u64,
        /// As maps shows it.
        path: String,
    },
    /// The program of a process.
    Exe {
        /// The process.
        pid: u32,
    },
    /// A path below the root of a process.
    Below {
        /// The process.
        pid: u32,
        /// The path.
        path: String,
    },
    /// A path on this machine.
    Here {
        /// The path.
        path: String,
    },
}

/// What names are looked for, in which files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The file that was mapped, by a path on this machine. A copy of its symbols may come with the
    /// request.
    pub own: Option<String>,
    /// What it was.
    pub stamp: Option<Stamp>,
    /// Lower-case hex.
    pub build_id: Option<String>,
    /// Paths where its debug file may be, the better first.
    pub separate: Vec<String>,
    /// Offsets in the file.
    pub offsets: Vec<u64>,
    /// Debug information may be read.
    pub dwarf: bool,
    /// The copy has debug information too.
    pub copy_has_debug: bool,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The bytes of a file of `/proc/PID` that shows memory of the process.
    Text {
        /// The process.
        pid: u32,
        /// `cmdline` or `environ`.
        name: String,
        /// Bytes that are read at most.
        most: u64,
    },
    /// The folders that the loader's configuration of a process names.
    LoaderPaths {
        /// The process.
        pid: u32,
    },
    /// The first file of each name in these folders, below the root of a process.
    Find {
        /// The process.
        pid: u32,
        /// For each name, its folders, as numbers of `folders`.
        names: Vec<(String, Vec<u32>)>,
        /// All folders.
        folders: Vec<String>,
        /// Look-ups at most, of all names together.
        lookups: u32,
    },
    /// The packages of files below the root of a process; if it has ended, below the machine's own.
    Packages {
        /// The process.
        pid: u32,
        /// Paths, and the inodes that were mapped.
        files: Vec<(String, u64)>,
    },
    /// What files are now.
    Stamps(Vec<Place>),
    /// The perf map file of a process, as it is now.
    PerfMapStamp {
        /// A thread of the process.
        tid: u32,
    },
    /// What an ELF file says of itself. The reader keeps it until the next request.
    Module {
        /// The file.
        place: Place,
        /// Bytes that a copy of its symbols may have, if the file may go.
        copy_max: u64,
    },
    /// The functions of an allocator in an ELF file.
    Allocator {
        /// The file.
        place: Place,
    },
    /// The unwind table of the file that [`Request::Module`] was about.
    Table,
    /// The names in the perf map file of a process.
    PerfMap {
        /// A thread of the process.
        tid: u32,
        /// The version that is another program's.
        not: Option<Stamp>,
        /// Bytes that are read at most.
        most: u64,
    },
    /// Names for places in a file.
    Names(Wanted),
}

impl Request {
    /// Whether the opener answers alone: nothing of it is parsed.
    #[must_use]
    pub const fn is_openers(&self) -> bool {
        match self {
            Self::Text { .. }
            | Self::LoaderPaths { .. }
            | Self::Find { .. }
            | Self::Packages { .. }
            | Self::Stamps(_)
            | Self::PerfMapStamp { .. } => true,
            Self::Module { .. }
            | Self::Allocator { .. }
            | Self::Table
            | Self::PerfMap { .. }
            | Self::Names(_) => false,
        }
    }
}

/// An opened file, as the opener found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// What it is.
    pub stamp: Stamp,
    /// It is the system's own: see `super::super::foreign::is_systems`.
    pub systems: bool,
    /// Its path, as the kernel shows it.
    pub path: String,
    /// That path leads to it on this machine.
    pub here: bool,
    /// It is one of the system's that nobody will take away while a session lasts.
    pub lasting: bool,
}

/// What the opener hands to the reader: the request, and for each of its files whether there is a
/// descriptor of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The request.
    pub request: Request,
    /// The files of the request in their order.
    pub files: Vec<Result<Opened, String>>,
    /// Behind them comes the descriptor of a copy that rmap keeps.
    pub copy: bool,
}

/// What a program's headers name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Libraries.
    pub names: Vec<String>,
    /// Where they are looked for first.
    pub run_path: Vec<String>,
}

/// What an ELF file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleAnswer {
    /// How it was opened.
    pub opened: Opened,
    /// Its program headers; `None`: no ELF file.
    pub headers: Option<Headers>,
    /// Offsets of code to which signal handlers return.
    pub trampolines: Vec<u64>,
    /// The name of its debug file.
    pub debug_link: Option<String>,
    /// Whether it is a CPython, and which one.
    #[serde(default)]
    pub python: Found,
    /// Of all that its unwind table depends on: SHA-256 in lower-case hex.
    pub digest: Option<String>,
    /// What it needs to run.
    pub needs: Needs,
    /// Bytes of the copy of its symbols, which comes as a descriptor; and whether they are with its
    /// debug information.
    pub copied: Option<(u64, bool)>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It could not be done: why.
    Refused(String),
    /// The bytes behind.
    Bytes,
    /// Paths of folders.
    Paths(Vec<String>),
    /// For each name the path, and what it is; and whether all could be looked for.
    Found(Vec<Option<(String, Stamp)>>, bool),
    /// For each file the name of its package.
    Packages(Vec<Option<String>>),
    /// For each place what is there.
    Stamps(Vec<Option<Stamp>>),
    /// To [`Request::Module`].
    Module(Box<ModuleAnswer>),
    /// Functions and their offsets in the file.
    Functions(Vec<(Shape, u64)>),
    /// Frames by file offset, without the file's name; and why some are missing.
    Names {
        /// The frames.
        frames: Vec<(u64, Vec<Frame>)>,
        /// Why some are missing.
        problem: Option<String>,
    },
    /// The perf map is the one that is another program's, or there is none.
    Nothing,
}

/// A message that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// Its parts do not fit its length.
    #[error("a message of the worker is cut")]
    Cut,
    /// Its JSON is none, or not that of a message.
    #[error("a message of the worker is malformed")]
    Json,
    /// A count or a length in it is beyond its limit.
    #[error("a message of the worker is beyond its limits")]
    Limit,
}

/// The bytes of a message: `head`, and `body` behind it.
#[must_use]
pub fn encode(head: &impl Serialize, body: &[u8]) -> Vec<u8> {
    // Plain data: its JSON cannot fail.
    let json = serde_json::to_vec(head).unwrap_or_default();
    let mut bytes = Vec::with_capacity(4 + json.len() + body.len());
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend(json);
    bytes.extend(body);
    bytes
}

/// The parts of a message.
///
/// # Errors
/// It is none.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed::Cut)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (json, body) = rest.split_at_checked(length).ok_or(Malformed::Cut)?;
    let head = serde_json::from_slice(json).map_err(|_| Malformed::Json)?;
    Ok((head, body))
}

/// An answer, checked against the request that it is to.
///
/// # Errors
/// It is none, or not one to this request.
pub fn answer<'a>(bytes: &'a [u8], request: &Request) -> Result<(Answer, &'a [u8]), Malformed> {
    let (answer, body) = decode::<Answer>(bytes)?;
    let fits = match (&answer, request) {
        (Answer::Refused(why), _) => why.len() <= NAME_MAX,
        (Answer::Nothing, Request::PerfMap { .. } | Request::PerfMapStamp { .. }) => true,
        (Answer::Bytes, Request::Text { most, .. }) => body.len() as u64 <= *most,
        (Answer::Bytes, Request::Table | Request::PerfMap { .. }) => true,
        (Answer::Paths(paths), Request::LoaderPaths { .. }) => {
            paths.iter().all(|path| path.len() <= NAME_MAX)
        }
        (Answer::Found(found, _), Request::Find { names, .. }) => found.len() == names.len(),
        (Answer::Packages(packages), Request::Packages { files, .. }) => {
            packages.len() == files.len()
                && packages.iter().flatten().all(|name| packages::is_package(name))
        }
        (Answer::Stamps(stamps), Request::Stamps(places)) => stamps.len() == places.len(),
        (Answer::Stamps(stamps), Request::PerfMapStamp { .. }) => stamps.len() == 1,
        (Answer::Module(module), Request::Module { .. }) => module.is_within_limits(),
        (Answer::Functions(functions), Request::Allocator { .. }) => {
            functions.len() <= FUNCTIONS_MAX
        }
        (Answer::Names { frames, problem }, Request::Names(wanted)) => {
            problem.as_ref().is_none_or(|why| why.len() <= NAME_MAX)
                && frames.len() <= wanted.offsets.len()
                && frames.iter().all(|(offset, frames)| {
                    wanted.offsets.binary_search(offset).is_ok()
                        && frames.iter().all(is_within_limits)
                })
        }
        _ => false,
    };
    if fits { Ok((answer, body)) } else { Err(Malformed::Limit) }
}

fn is_within_limits(frame: &Frame) -> bool {
    let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= NAME_MAX);
    short(&frame.function) && short(&frame.file)
}

impl ModuleAnswer {
    fn is_within_limits(&self) -> bool {
        let is_digest = |text: &String| {
            text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        };
        self.trampolines.len() <= TRAMPOLINES_MAX
            && self.digest.as_ref().is_none_or(is_digest)
            && self.debug_link.as_ref().is_none_or(|link| {
                link.len() <= 255 && !link.contains('/') && link != ".." && link != "."
            })
            && self.headers.as_ref().is_none_or(Headers::is_within_limits)
            && !matches!(&self.python, Found::Refused(_, why) if why.len() > WHY_MAX)
    }
}

/// Takes any bytes as a message to each kind of request. For fuzzing: it must not panic.
pub fn fuzz_entry(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let place = || Place::Exe { pid: 1 };
    let request = match kind % 7 {
        0 => Request::Text { pid: 1, name: "cmdline".to_owned(), most: 10 },
        1 => Request::LoaderPaths { pid: 1 },
        2 => Request::Stamps(vec![place()]),
        3 => Request::Module { place: place(), copy_max: 0 },
        4 => Request::Names(Wanted { offsets: vec![1, 2], ..Wanted::default() }),
        5 => Request::Allocator { place: place() },
        _ => Request::Table,
    };
    if let Ok((taken, body)) = answer(bytes, &request) {
        let again = encode(&taken, body);
        assert_eq!(answer(&again, &request), Ok((taken, body)), "an answer changed on its way");
    }
    let _ = decode::<Task>(bytes);
    let _ = crate::unwind::cache::decode(bytes);
    let _ = crate::symbol::PerfMap::decode(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted() -> Request {
        Request::Names(Wanted { offsets: vec![0x10, 0x20], ..Wanted::default() })
    }

    fn named(offset: u64, function: &str) -> Vec<u8> {
        let function = Some(function.to_owned());
        let frame = Frame { function, offset: crate::report::Address(16), ..Frame::default() };
        let frames = vec![(offset, vec![frame])];
        encode(&Answer::Names { frames, problem: None }, b"")
    }

    #[test]
    fn an_answer_is_taken_as_it_was_sent() {
        let bytes = encode(&Answer::Bytes, b"abc");
        let request = Request::Text { pid: 1, name: "cmdline".to_owned(), most: 3 };
        assert_eq!(answer(&bytes, &request), Ok((Answer::Bytes, &b"abc"[..])));
        assert!(answer(&named(0x20, "f"), &wanted()).is_ok());
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let request = Request::Text { pid: 1, name: "cmdline".to_owned(), most: 2 };
        assert_eq!(answer(&encode(&Answer::Bytes, b"abc"), &request), Err(Malformed::Limit));
        assert_eq!(answer(&named(0x30, "f"), &wanted()), Err(Malformed::Limit));
        let long = "f".repeat(NAME_MAX + 1);
        assert_eq!(answer(&named(0x20, &long), &wanted()), Err(Malformed::Limit));
        assert_eq!(answer(&encode(&Answer::Nothing, b""), &wanted()), Err(Malformed::Limit));
    }

    #[test]
    fn a_message_cut_anywhere_is_refused() {
        let whole = named(0x20, "f");
        for cut in 0..whole.len() {
            assert!(answer(&whole[..cut], &wanted()).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz_entry(&bytes);
        }

        #[test]
        fn any_byte_of_an_answer_may_be_another(at in 0_usize..100, byte: u8) {
            let mut bytes = named(0x20, "f");
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = answer(&bytes, &wanted());
        }
    }
}
