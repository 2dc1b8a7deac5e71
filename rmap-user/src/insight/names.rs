//! Names of functions as rules match them and as people read them.
//!
//! Comes in: a demangled name. Goes out: the same without what a compiler or a library appended
//! to it; and places in the source.

use std::collections::BTreeSet;

/// Most lines that are named for one function.
const LINES_NAMED: usize = 3;

/// Lines of a source file: `app.py:12,40`.
#[must_use]
pub fn place(file: &str, lines: &BTreeSet<u32>) -> String {
    let mut place = base(file).to_owned();
    for (n, line) in lines.iter().take(LINES_NAMED).enumerate() {
        place.push(if n == 0 { ':' } else { ',' });
        place.push_str(&line.to_string());
    }
    if lines.len() > LINES_NAMED {
        place.push_str(",…");
    }
    place
}

/// The name that people know a function of libc by. It has its string functions once for each kind
/// of processor (`__memset_avx2_unaligned_erms` is `memset`), and its public functions under names
/// for itself (`__GI___libc_malloc` is `malloc`). Other names stay.
#[must_use]
pub fn common(name: &str) -> &str {
    let own = name.strip_prefix("__GI_").unwrap_or(name);
    if let Some(public) = own.strip_prefix("__libc_").filter(|public| PUBLIC.contains(public)) {
        return public;
    }
    variant(own)
}

/// Functions that libc has as `__libc_…` too.
const PUBLIC: &[&str] = &[
    "malloc", "calloc", "realloc", "free", "memalign", "valloc", "pvalloc", "read", "write",
    "open", "pread64", "pwrite64", "recv", "recvfrom", "recvmsg", "send", "sendto", "fork",
    "fcntl64",
];

fn variant(name: &str) -> &str {
    let Some(inner) = name.strip_prefix("__") else { return name };
    let Some(end) = ["_avx", "_sse", "_ssse", "_evex", "_erms", "_unaligned"]
        .iter()
        .filter_map(|kind| inner.find(kind))
        .min()
    else {
        return name;
    };
    let base = inner.get(..end).unwrap_or(inner);
    let known = ["mem", "str", "stp", "wcs", "wmem", "rawmem"].iter().any(|s| base.starts_with(s));
    if known { base } else { name }
}

/// Suffixes that compilers give to copies of a function.
const COPIES: &[&str] = &[".part.", ".constprop.", ".isra.", ".cold", ".lto_priv.", ".llvm."];

/// A function's qualified name: without the return type that demangled templates begin with, the
/// arguments, the version behind `@`, and the suffix of a compiler's copy.
///
/// `void std::vector<int>::push_back(int const&)` is `std::vector<int>::push_back`.
#[must_use]
pub fn bare(name: &str) -> &str {
    let mut name = match name.find('@') {
        Some(at) if at > 0 => name.get(..at).unwrap_or(name),
        _ => name,
    };
    for copy in COPIES {
        if let Some(at) = name.find(copy).filter(|at| *at > 0) {
            name = name.get(..at).unwrap_or(name);
        }
    }
    // Go writes receivers in parentheses: `bytes.(*Buffer).grow`.
    if name.contains(".(*") {
        return name;
    }
    let (mut depth, mut from, mut end) = (0_i32, 0, name.len());
    let mut previous = ' ';
    let operator = name.find("operator").unwrap_or(usize::MAX);
    for (at, c) in name.char_indices() {
        match c {
            _ if at >= operator && at < operator.saturating_add(8) => {}
            // Of operators, only what follows their own signs can be arguments.
            '<' | '>' if at >= operator && depth == 0 => {}
            '<' => depth += 1,
            '>' if previous != '-' => depth -= 1,
            '(' if depth == 0 => {
                let rest = name.get(at..).unwrap_or_default();
                let part_of_name =
                    rest.starts_with("(anonymous namespace)") || rest.starts_with("()(");
                if at > from && !part_of_name && previous != ' ' {
                    end = at;
                    break;
                }
                depth += 1;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            ' ' if depth == 0 && at < operator => from = at + 1,
            _ => {}
        }
        previous = c;
    }
    match name.get(from..end) {
        // What begins with arguments is no name (`StubRoutines (1)` of a Java virtual machine).
        Some(inner) if inner.starts_with('(') && !inner.starts_with("(anonymous") => name,
        Some(inner) if !inner.is_empty() => inner,
        _ => name,
    }
}

/// A name for a reader: the common name of a string function, else the bare name with the
/// arguments of templates left out.
#[must_use]
pub fn readable(name: &str) -> String {
    let bare = common(bare(name));
    // A part of CPython's qualified names: `load.<locals>.<listcomp>` is the comprehension in `load`.
    if bare.contains(".<") {
        return bare.replace(".<locals>", "");
    }
    // Rust writes `<Type as Trait>::method`: what is in these brackets is the name.
    if !bare.contains('<') || bare.starts_with('<') || bare.contains("operator") {
        return bare.to_owned();
    }
    let (mut out, mut depth) = (String::new(), 0_usize);
    for c in bare.chars() {
        match c {
            '<' => {
                if depth == 0 {
                    out.push_str("<…>");
                }
                depth += 1;
            }
            '>' => depth = depth.saturating_sub(1),
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// The last part of a path.
#[must_use]
pub fn base(path: &str) -> &str {
    match path.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn variants_of_string_functions_have_one_name() {
        assert_eq!(common("__memset_avx2_unaligned_erms"), "memset");
        assert_eq!(common("__memset_chk_erms"), "memset_chk");
        assert_eq!(common("__strlen_evex"), "strlen");
        assert_eq!(common("__my_sse_kernel"), "__my_sse_kernel");
        assert_eq!(common("memset"), "memset");
        assert_eq!(common("__GI___libc_malloc"), "malloc");
        assert_eq!(common("__GI_memcpy"), "memcpy");
        assert_eq!(common("__libc_start_main"), "__libc_start_main");
    }

    #[test]
    fn return_types_arguments_and_copies_are_left_out() {
        for (name, expected) in [
            ("void std::vector<int>::push_back(int const&)", "std::vector<int>::push_back"),
            ("Pool::take(unsigned long)", "Pool::take"),
            ("operator new(unsigned long)", "operator new"),
            ("Table::operator()(int, char) const", "Table::operator()"),
            ("Table::operator<<(int)", "Table::operator<<"),
            ("(anonymous namespace)::load(int)", "(anonymous namespace)::load"),
            ("bool (anonymous namespace)::load<a, b>(int)", "(anonymous namespace)::load<a, b>"),
            ("sort.constprop.0", "sort"),
            ("fill.part.3.cold", "fill"),
            ("malloc@GLIBC_2.2.5", "malloc"),
            ("StubRoutines (1)", "StubRoutines (1)"),
            ("bytes.(*Buffer).grow", "bytes.(*Buffer).grow"),
            (
                "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
                "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
            ),
            ("", ""),
            ("main", "main"),
        ] {
            assert_eq!(bare(name), expected, "{name}");
        }
        assert_eq!(
            readable("std::pair<int, long> std::map<int, std::set<long> >::emplace<int>(int&&)"),
            "std::map<…>::emplace<…>"
        );
        assert_eq!(readable("load.<locals>.<listcomp>"), "load.<listcomp>");
        assert_eq!(readable("Table.rows.<locals>.<lambda>"), "Table.rows.<lambda>");
    }

    proptest! {
        #[test]
        fn no_name_is_lost_or_breaks_anything(name in "[a-z<>() :,.@*&-]{0,40}|\\PC{0,30}") {
            prop_assert_eq!(bare(&name).is_empty(), name.is_empty());
            let _ = readable(&name);
        }
    }
}
