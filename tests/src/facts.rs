//! What a report says, looked up and checked on its own.
//!
//! Comes in: a [`Report`]. Goes out: processes, segments and the bytes that a function owns; and
//! the checks that every report must pass, written anew here: they share no code with rmap's.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ::rmap::report::{Frame, Path, Process, Reason, Report, Segment, Stack, StackId};

/// What some code paths own together, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// Resident at the end.
    pub rss: u64,
    /// Dirty at the end.
    pub dirty: u64,
    /// Touched in all.
    pub touched: u64,
    /// Faults.
    pub faults: u64,
    /// Why.
    pub causes: BTreeSet<String>,
    /// Which threads.
    pub tids: BTreeSet<u32>,
}

impl Owned {
    /// The sum of the paths.
    pub fn sum<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut owned = Self::default();
        for path in paths {
            owned.rss += path.rss_bytes;
            owned.dirty += path.dirty_bytes;
            owned.touched += path.touched_bytes;
            owned.faults += path.faults;
            owned.causes.insert(path.cause.as_str().to_owned());
            owned.tids.extend(&path.tids);
        }
        owned
    }
}

/// The frames of a stack; none if there is no stack.
///
/// # Panics
/// The report names a stack that it does not have.
#[must_use]
pub fn frames(report: &Report, stack: Option<StackId>) -> &[Frame] {
    stack.map_or(&[], |_| &self::stack(report, stack).frames)
}

/// The stack.
///
/// # Panics
/// There is none, or the report names a stack that it does not have.
#[must_use]
pub fn stack(report: &Report, id: Option<StackId>) -> &Stack {
    let id = id.unwrap_or_else(|| panic!("a path without a stack"));
    let found = report.stacks.iter().find(|stack| stack.id == id);
    found.unwrap_or_else(|| panic!("the report has no stack {id}"))
}

/// Whether the innermost frame is one of these functions: what can be asked where the function
/// itself touches the memory, or libc does for it.
#[must_use]
pub fn leaf_is(report: &Report, stack: Option<StackId>, functions: &[&str]) -> bool {
    frames(report, stack).first().is_some_and(|frame| named(frame, functions))
}

/// Whether one of these functions is among the callers, the innermost frame included.
#[must_use]
pub fn caller_is(report: &Report, stack: Option<StackId>, functions: &[&str]) -> bool {
    frames(report, stack).iter().any(|frame| named(frame, functions))
}

fn named(frame: &Frame, functions: &[&str]) -> bool {
    let one = |name: &str| functions.iter().any(|function| is_variant(name, function));
    frame.function.as_deref().is_some_and(one)
}

/// Whether that is the function, or for the functions of libc that exist once for each kind of
/// processor (`__memset_avx2_unaligned_erms`) one of those: which one runs is the machine's choice.
fn is_variant(name: &str, function: &str) -> bool {
    let rest = || name.strip_prefix("__")?.strip_prefix(function);
    let variant = || rest().is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    name == function || (["memset", "memcpy", "memmove"].contains(&function) && variant())
}

/// The process of that id.
///
/// # Panics
/// There is none.
#[must_use]
pub fn process(report: &Report, pid: u32) -> &Process {
    report.processes.iter().find(|process| process.pid == pid).unwrap_or_else(|| {
        let pids: Vec<_> = report.processes.iter().map(|p| (p.pid, &p.command)).collect();
        panic!("the report has no process {pid}, only {pids:?}")
    })
}

/// The segment that starts at the address.
///
/// # Panics
/// There is none.
#[must_use]
pub fn segment<'a>(process: &'a Process, start: &str) -> &'a Segment {
    let at = address(start);
    process.segments.iter().find(|segment| segment.start.0 == at).unwrap_or_else(|| {
        let starts: Vec<_> = process.segments.iter().map(|s| (&s.start, &s.end, &s.name)).collect();
        panic!("process {} has no segment {start}, only {starts:#?}", process.pid)
    })
}

/// What paths with this innermost function own of the segment.
#[must_use]
pub fn owned_by(report: &Report, segment: &Segment, functions: &[&str]) -> Owned {
    Owned::sum(segment.paths.iter().filter(|path| leaf_is(report, path.stack, functions)))
}

/// What paths with this function among their callers own of the segment.
#[must_use]
pub fn owned_under(report: &Report, segment: &Segment, function: &str) -> Owned {
    Owned::sum(segment.paths.iter().filter(|path| caller_is(report, path.stack, &[function])))
}

/// What paths of this cause own of the segment.
#[must_use]
pub fn owned_through(segment: &Segment, cause: &str) -> Owned {
    Owned::sum(segment.paths.iter().filter(|path| path.cause.as_str() == cause))
}

/// Bytes that no code of a process gave back in this way, but the kernel.
#[must_use]
pub fn released_by_kernel(process: &Process, how: &str) -> u64 {
    let by_kernel = process.released.iter().filter(|r| r.how.as_str() == how && r.stack.is_none());
    by_kernel.map(|r| r.rss_bytes).sum()
}

/// The segment for a message: its sizes, paths and residuals.
#[must_use]
pub fn show(report: &Report, segment: &Segment) -> String {
    let mut text = format!(
        "segment {}-{} {} {:?}: rss {}, dirty {}\n",
        segment.start,
        segment.end,
        segment.perms,
        segment.name,
        segment.rss_bytes.after,
        segment.dirty_bytes.after
    );
    for path in &segment.paths {
        let names: Vec<_> = frames(report, path.stack)
            .iter()
            .take(4)
            .map(|frame| {
                frame.function.clone().unwrap_or(format!("{}+{}", frame.module, frame.offset))
            })
            .collect();
        let _ = writeln!(
            text,
            "  {:16} rss {:>9} dirty {:>9} touched {:>9} faults {:>6} {names:?}",
            path.cause.as_str(),
            path.rss_bytes,
            path.dirty_bytes,
            path.touched_bytes,
            path.faults
        );
    }
    for rest in &segment.unexplained {
        let _ = writeln!(
            text,
            "  unexplained: {:16} rss {:>9} dirty {:>9}",
            rest.reason.as_str(),
            rest.rss_bytes,
            rest.dirty_bytes
        );
    }
    text
}

/// Checks what holds for every report: the identity for every segment of every process, totals
/// that are the sums of their segments, sane addresses, stacks that exist.
///
/// # Panics
/// It does not hold.
pub fn assert_sound(report: &Report) {
    assert_eq!(report.schema, "rmap.report/1");
    assert!(!report.processes.is_empty(), "a report without a process");
    for process in &report.processes {
        let mut sums = [0u64; 3];
        let mut behind = 0;
        for segment in &process.segments {
            assert_segment(report, process, segment);
            let start = segment.start.0;
            assert!(start >= behind, "segments of {} overlap at {}", process.pid, segment.start);
            behind = segment.end.0;
            sums[0] += segment.rss_bytes.after;
            sums[1] += segment.dirty_bytes.after;
            sums[2] += segment.swap_bytes.after;
        }
        let totals = [process.rss_bytes.after, process.dirty_bytes.after, process.swap_bytes.after];
        assert_eq!(totals, sums, "process {}: totals (rss, dirty, swap) and sums", process.pid);
        for gone in &process.gone {
            let _ = frames(report, gone.stack);
        }
        for released in &process.released {
            let _ = frames(report, released.stack);
        }
    }
}

fn assert_segment(report: &Report, process: &Process, segment: &Segment) {
    let paths = Owned::sum(&segment.paths);
    let rest = |of: fn(&::rmap::report::Unexplained) -> i64| -> i128 {
        segment.unexplained.iter().map(|u| i128::from(of(u))).sum()
    };
    let parts = (
        i128::from(paths.rss) + rest(|u| u.rss_bytes),
        i128::from(paths.dirty) + rest(|u| u.dirty_bytes),
    );
    let whole = (i128::from(segment.rss_bytes.after), i128::from(segment.dirty_bytes.after));
    assert_eq!(
        parts,
        whole,
        "process {} ({}): the parts (rss, dirty) are not the whole in\n{}",
        process.pid,
        process.command,
        show(report, segment)
    );
    let size = segment.end.0 - segment.start.0;
    assert_eq!(segment.size_bytes, size, "{}", show(report, segment));
    for path in &segment.paths {
        let _ = frames(report, path.stack);
        // Unless a path made dirty what another made resident, it touched what it owns.
        let owned = path.rss_bytes.max(path.dirty_bytes);
        assert!(path.touched_bytes >= owned, "touched < owned in\n{}", show(report, segment));
        assert!(path.first_ns <= path.last_ns, "{}", show(report, segment));
        assert!(!path.cause.as_str().is_empty(), "{}", show(report, segment));
    }
}

/// An address as a workload prints it, and the report.
///
/// # Panics
/// It is not lower-case hex with `0x`.
#[must_use]
pub fn address(text: &str) -> u64 {
    let digits = text.strip_prefix("0x").unwrap_or_else(|| panic!("{text} has no 0x"));
    assert!(!digits.contains(|c: char| c.is_ascii_uppercase()), "{text} is upper case");
    u64::from_str_radix(digits, 16).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Checks that nothing was lost.
///
/// # Panics
/// Something was.
pub fn assert_nothing_lost(report: &Report) {
    let lost = &report.coverage.lost;
    assert_eq!((lost.events, lost.stacks, lost.snapshots), (0, 0, 0), "lost {lost:?}");
}

/// How much of what is resident and dirty at the end code paths explain: bytes explained and all
/// bytes, for rss and for dirty, over all processes with a snapshot.
#[must_use]
pub fn explained(report: &Report) -> [(u64, u64); 2] {
    let mut result = [(0, 0); 2];
    for segment in report.processes.iter().flat_map(|process| &process.segments) {
        let missing = |of: fn(&::rmap::report::Unexplained) -> i64| -> u64 {
            segment.unexplained.iter().map(|u| of(u).unsigned_abs()).sum()
        };
        let parts = [
            (segment.rss_bytes.after, missing(|u| u.rss_bytes)),
            (segment.dirty_bytes.after, missing(|u| u.dirty_bytes)),
        ];
        for ((explained, all), (whole, missing)) in result.iter_mut().zip(parts) {
            *explained += whole.saturating_sub(missing);
            *all += whole;
        }
    }
    result
}

/// Checks that at least 99 % of what is resident and dirty is explained, and that the rest has a
/// reason.
///
/// # Panics
/// It is not so.
pub fn assert_explained(report: &Report) {
    let mut residuals = String::new();
    let mut unknown = false;
    for process in &report.processes {
        for segment in &process.segments {
            let rest = |u: &::rmap::report::Unexplained| u.rss_bytes != 0 || u.dirty_bytes != 0;
            if segment.unexplained.iter().any(rest) {
                let _ = write!(residuals, "{} {}", process.command, show(report, segment));
            }
            unknown |= segment.unexplained.iter().any(|u| u.reason == Reason::Unknown && rest(u));
        }
    }
    for ((explained, all), of) in explained(report).into_iter().zip(["rss", "dirty"]) {
        assert!(
            explained * 100 >= all * 99,
            "only {explained} of {all} bytes of {of} are explained:\n{residuals}"
        );
    }
    assert!(!unknown, "a residual has no reason:\n{residuals}");
}
