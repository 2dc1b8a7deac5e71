//! What can be done about it: rules that find memory which a known change would give back.
//!
//! Comes in: the parts of a report. Goes out: [`Advice`], the largest first, silent where nothing
//! matters. Each rule is one row of [`RULES`] and one function that finds its evidence;
//! `docs/advice.md` describes each with its source, and a test holds it to the table.

mod find;

use serde::Serialize;

use super::part::Parts;
use super::unnamed::{Unnamed, unnamed};

/// A rule: what it looks for and what it says. The texts are sentences for people.
#[derive(Debug)]
pub struct Rule {
    /// Its name, as in the JSON.
    pub name: &'static str,
    /// From when on it speaks.
    pub threshold: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// When there is nothing to do.
    pub harmless_when: &'static str,
    find: fn(&Parts<'_>) -> Option<Evidence>,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Evidence {
    bytes: u64,
    text: String,
}

/// One piece of advice. The evidence holds names from the traced machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The rule's name.
    pub rule: &'static str,
    /// How much it is about.
    pub bytes: u64,
    /// What was found, with its bytes. Not safe to print as is.
    pub evidence: String,
    /// What to do.
    pub remedy: &'static str,
    /// When there is nothing to do.
    pub harmless_when: &'static str,
    /// Of `no-names`: the files, the largest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<Unnamed>,
}

/// The rule about names, the only one that lists files.
const NO_NAMES: &str = "no-names";

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        name: "fork-copies",
        threshold: "16 MiB and a twentieth of Dirty are copies made by writes after fork",
        remedy: "fork before the data is loaded, or keep what is written apart from what is only \
                 read",
        harmless_when: "the process would have written that data in any case",
        find: find::fork_copies,
    },
    Rule {
        name: "fork-copies-python",
        threshold: "16 MiB and a twentieth of Dirty are copies made by CPython after fork",
        remedy: "gc.collect() and gc.freeze() before fork keep the collector from writing; each use \
                 of an object writes its reference count, so keep shared data in arrays, mmap or \
                 large bytes",
        harmless_when: "the children live for a short time and memory is not scarce",
        find: find::fork_copies_python,
    },
    Rule {
        name: "relocations",
        threshold: "16 MiB of relocated library data in 8 processes or more",
        remedy: "start processes by fork from one that has loaded the libraries, load fewer of \
                 them, or link with -Bsymbolic",
        harmless_when: "the processes do not run at the same time",
        find: find::relocations,
    },
    Rule {
        name: "madv-free",
        threshold: "16 MiB given up by MADV_FREE are still resident",
        remedy: "count it as free; where figures must fall at once, use MADV_DONTNEED \
                 (GODEBUG=madvdontneed=1, jemalloc's muzzy_decay_ms:0)",
        harmless_when: "always, while the machine has free memory: the kernel takes it when it needs it",
        find: find::madv_free,
    },
    Rule {
        name: "malloc-arenas",
        threshold: "8 malloc arenas or more that hold 32 MiB or more",
        remedy: "set MALLOC_ARENA_MAX=2, or use an allocator with smaller caches for each thread",
        harmless_when: "threads allocate so often that they would wait for each other",
        find: find::malloc_arenas,
    },
    Rule {
        name: "heap-free",
        threshold: "16 MiB and a quarter of the resident bytes of heaps are free (known with --heap)",
        remedy: "call malloc_trim(0) after large frees; where most is free within pages, allocate \
                 what lives long apart from what does not, or use an allocator that does",
        harmless_when: "the program soon allocates as much again",
        find: find::heap_free,
    },
    Rule {
        name: "populated",
        threshold: "32 MiB were made resident in advance and never written",
        remedy: "leave out MAP_POPULATE, MADV_POPULATE or mlockall, or lock only what must not fault",
        harmless_when: "the memory is read later, or must not fault then",
        find: find::populated,
    },
    Rule {
        name: "page-cache-dirt",
        threshold: "32 MiB of mapped files are dirty by write(2)",
        remedy: "call fdatasync or sync_file_range as you write, or write with O_DIRECT",
        harmless_when: "the disk keeps up: the kernel writes dirty pages within 30 s \
                        (vm.dirty_expire_centisecs)",
        find: find::page_cache_dirt,
    },
    Rule {
        name: "growth",
        threshold: "an owner still holds more and more in the last third of the session, or a segment \
                    rose by 8 MiB or more through the snapshots",
        remedy: "look at the owner: if nothing frees what it allocates, that is a leak; --window A..B \
                 shows what came and stayed",
        harmless_when: "a cache fills up to its limit, a collector has not run yet, or the program \
                        has just begun",
        find: find::growth,
    },
    Rule {
        name: "rewritten",
        threshold: "memory was watched for writes, 64 MiB or more of it are there, and 1 MiB to a \
                    quarter of that are written again within the period",
        remedy: "put what is written again together, apart from what stays: write-back, fork \
                 snapshots and replication pay for every page of it",
        harmless_when: "nothing copies or writes back that memory",
        find: find::rewritten,
    },
    Rule {
        name: "huge-pages",
        threshold: "64 MiB and half of RSS are huge pages that came at their first write",
        remedy: "check that they are used in full; else madvise(MADV_NOHUGEPAGE), or \
                 prctl(PR_SET_THP_DISABLE)",
        harmless_when: "all of each huge page is written: then they are faster",
        find: find::huge_pages,
    },
    Rule {
        name: NO_NAMES,
        threshold: "1 MiB and a tenth of RSS belong to owners in files whose functions have no names",
        remedy: "install the debug package and run again, or put the debug file of that build id into \
                 a folder DIR: rmap report --symbols DIR",
        harmless_when: "module and offset are enough to find the code",
        find: find::no_names,
    },
];

/// What the rules find, the largest first.
#[must_use]
pub fn advice(parts: &Parts<'_>) -> Vec<Advice> {
    let mut found: Vec<Advice> = RULES
        .iter()
        .filter_map(|rule| {
            let evidence = (rule.find)(parts)?;
            Some(Advice {
                rule: rule.name,
                bytes: evidence.bytes,
                evidence: evidence.text,
                remedy: rule.remedy,
                harmless_when: rule.harmless_when,
                modules: if rule.name == NO_NAMES { unnamed(parts) } else { Vec::new() },
            })
        })
        .collect();
    found.sort_by_key(|advice| std::cmp::Reverse(advice.bytes));
    found
}

#[cfg(test)]
mod tests;
