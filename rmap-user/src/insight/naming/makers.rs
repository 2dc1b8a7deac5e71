//! What the call path that made a mapping says of it.
//!
//! Comes in: a segment with the frames of `mapped_by`. Goes out: its kind, where a row of the table
//! names one of the innermost functions. A row that goes by a stripped program's file alone is
//! marked as inferred.

use super::{Finding, Place, shape};
use crate::insight::names;
use crate::report::{Frame, Kind};

/// What a rule looks for.
struct Rule {
    kind: Kind,
    /// The name to show; `None`: numbered, or none.
    label: Option<&'static str>,
    /// So many of the innermost frames are looked at.
    depth: usize,
    /// Beginnings of the names of files that hold the code; empty: any.
    modules: &'static [&'static str],
    /// Names of functions, `*` at the end for any that begin so; empty: any.
    functions: &'static [&'static str],
}

/// The first that fits holds.
const RULES: &[Rule] = &[
    Rule {
        kind: Kind::ThreadStack,
        label: None,
        depth: 4,
        modules: &[],
        functions: &["allocate_stack", "pthread_create*", "__pthread_create*", "thrd_create"],
    },
    Rule {
        kind: Kind::MallocArena,
        label: None,
        depth: 6,
        modules: &[],
        functions: &[
            "arena_get2*",
            "arena_get_retry*",
            "new_heap*",
            "alloc_new_heap*",
            "_int_new_arena*",
        ],
    },
    Rule {
        kind: Kind::Pymalloc,
        label: Some("[pymalloc]"),
        depth: 4,
        modules: &["python", "libpython"],
        functions: &[
            "_PyMem_ArenaAlloc",
            "_PyObject_ArenaMmap",
            "new_arena",
            "allocate_from_new_pool",
        ],
    },
    Rule {
        kind: Kind::JavaHeap,
        label: Some("[java heap]"),
        depth: 16,
        modules: &["libjvm.so"],
        functions: &["ReservedHeapSpace*", "Universe::initialize_heap*", "Universe::reserve_heap*"],
    },
    Rule {
        kind: Kind::V8Space,
        label: Some("[v8 space]"),
        depth: 10,
        modules: &[],
        functions: &["v8::internal::*", "v8::base::*"],
    },
    Rule {
        kind: Kind::GoArena,
        label: Some("[go arena]"),
        depth: 8,
        modules: &[],
        functions: &["runtime.(*mheap).sysAlloc", "runtime.(*mheap).grow"],
    },
    Rule {
        kind: Kind::Anonymous,
        label: Some("[go runtime]"),
        depth: 4,
        modules: &[],
        functions: &["runtime.sysAlloc*", "runtime.sysReserve*", "runtime.persistentalloc*"],
    },
    Rule {
        kind: Kind::MallocArena,
        label: Some("[jemalloc]"),
        depth: 8,
        modules: &[],
        functions: &["je_*", "_rjem_*"],
    },
    Rule {
        kind: Kind::MallocArena,
        label: Some("[jemalloc]"),
        depth: 4,
        modules: &["libjemalloc"],
        functions: &[],
    },
    Rule {
        kind: Kind::MallocArena,
        label: Some("[tcmalloc]"),
        depth: 4,
        modules: &["libtcmalloc"],
        functions: &[],
    },
    Rule {
        kind: Kind::MallocArena,
        label: Some("[tcmalloc]"),
        depth: 8,
        modules: &[],
        functions: &["tcmalloc::*"],
    },
    Rule {
        kind: Kind::MallocArena,
        label: Some("[mimalloc]"),
        depth: 4,
        modules: &["libmimalloc"],
        functions: &[],
    },
    Rule {
        kind: Kind::MallocArena,
        label: Some("[mimalloc]"),
        depth: 8,
        modules: &[],
        functions: &["_mi_*", "mi_*"],
    },
    Rule {
        kind: Kind::MallocBlock,
        label: Some("[malloc block]"),
        depth: 8,
        modules: &[],
        functions: &[
            "malloc",
            "calloc",
            "realloc",
            "memalign",
            "aligned_alloc",
            "posix_memalign",
            "__libc_malloc*",
            "__libc_calloc*",
            "__libc_realloc*",
            "__libc_memalign*",
            "sysmalloc*",
        ],
    },
];

impl Rule {
    fn fits(&self, frames: &[Frame]) -> bool {
        frames.iter().take(self.depth).any(|frame| {
            let module = names::base(&frame.module);
            let function = frame.function.as_deref().map(names::bare);
            (self.modules.is_empty() || self.modules.iter().any(|name| module.starts_with(name)))
                && (self.functions.is_empty()
                    || function.is_some_and(|name| self.functions.iter().any(|f| is(name, f))))
        })
    }
}

/// Whether a function's name is the one of a rule.
fn is(name: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(name == pattern, |begin| name.starts_with(begin))
}

/// Memory of no file that may be executed.
pub(super) fn of_code(place: &Place<'_>, at: usize) -> Finding {
    let found = Finding::sure(Kind::JitCode);
    let near = |prefix: &str| {
        place.made_by(at).iter().take(8).any(|f| names::base(&f.module).starts_with(prefix))
    };
    if near("libjvm.so") {
        return found.named("[java code]");
    }
    match maker(place.made_by(at)) {
        Some(maker) => found.named(format!("[jit code, by {maker}]")),
        None => found.named("[jit code]"),
    }
}

/// Memory of no file that holds data.
pub(super) fn of_data(place: &Place<'_>, at: usize) -> Option<Finding> {
    let frames = place.made_by(at);
    if frames.is_empty() {
        return None;
    }
    // The loader maps what lies behind the data of a library's file.
    if is_loader(&frames[0]) {
        return shape::bss(place, at);
    }
    if let Some(rule) = RULES.iter().find(|rule| rule.fits(frames)) {
        return Some(match rule.kind {
            Kind::ThreadStack => shape::thread_stack(place, at),
            // Without the names of malloc's own functions the shape tells its arenas from its blocks.
            Kind::MallocBlock if shape::is_arena(place, at) => Finding::sure(Kind::MallocArena),
            kind => Finding { kind, label: rule.label.map(str::to_owned), inferred: false },
        });
    }
    let size = place.segment(at).size_bytes;
    let first = frames.iter().map(|f| names::base(&f.module)).find(|module| !is_libc(module))?;
    // Stripped: the sizes are those of the runtime's own sources.
    if (first.starts_with("python3") || first.starts_with("libpython3"))
        && size.is_multiple_of(256 << 10)
    {
        return Some(Finding::sure(Kind::Pymalloc).named("[pymalloc]").inferred());
    }
    if first.starts_with("libjvm.so") && is_largest_of(place, at, "libjvm.so") {
        return Some(Finding::sure(Kind::JavaHeap).named("[java heap]").inferred());
    }
    None
}

/// Memory that the kernel has joined with threads' stacks, most of which is none: the allocator's, if the
/// process has one that maps memory like that.
pub(super) fn beside_stacks(place: &Place<'_>) -> Finding {
    let loaded = |start: &str| {
        place.process.segments.iter().any(|segment| names::base(&segment.name).starts_with(start))
    };
    let known = RULES.iter().filter(|rule| rule.kind == Kind::MallocArena);
    let found = known.filter_map(|rule| Some((rule.modules.first()?, rule.label?)));
    match found.into_iter().find(|(module, _)| loaded(module)) {
        Some((_, label)) => Finding::sure(Kind::MallocArena).named(label).inferred(),
        None => Finding::sure(Kind::Anonymous).inferred(),
    }
}

/// Whether no segment that the same file mapped has more bytes.
fn is_largest_of(place: &Place<'_>, at: usize, module: &str) -> bool {
    let made = |other: usize| {
        place.made_by(other).iter().take(8).any(|f| names::base(&f.module).starts_with(module))
    };
    let size = |other: usize| place.segment(other).rss_bytes.after;
    let others = 0..place.ranges.len();
    others.filter(|other| *other != at && made(*other)).all(|other| size(other) < size(at))
}

fn is_loader(frame: &Frame) -> bool {
    let module = names::base(&frame.module);
    module.starts_with("ld-linux") || module.starts_with("ld-2.") || module == "ld.so.1"
}

fn is_libc(module: &str) -> bool {
    ["libc.so", "libc-", "ld-", "[vdso]"].iter().any(|name| module.starts_with(name))
}

/// The function that a person would name as the maker: the innermost one outside of the C library.
pub(super) fn maker(frames: &[Frame]) -> Option<String> {
    let known = frames.iter().filter(|frame| !is_libc(names::base(&frame.module)));
    known.filter_map(|frame| frame.function.clone()).find(|name| !WRAPPERS.contains(&name.as_str()))
}

/// Functions of programs that only pass a call on.
const WRAPPERS: &[&str] = &["mmap", "mmap64", "shmat", "syscall", "__mmap", "shm_open"];
