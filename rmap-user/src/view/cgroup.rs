//! The books of the control group that was attached to, in words.
//!
//! Comes in: the report's [`Cgroup`]. Goes out: a paragraph: what is charged to it, what of that the
//! processes' pages are, and what the rest is.

use std::io;

use super::paint::{Line, Page, Paint};
use super::{number, text};
use crate::report::{Cgroup, CgroupBooks};

/// Writes it.
pub fn write(cgroup: &Cgroup, page: &mut Page<'_>) -> io::Result<()> {
    let mut line = Line::of(format!("Cgroup {}: ", text::clean(&cgroup.path)), Paint::Strong);
    match &cgroup.after {
        Some(books) => line.push(charge(cgroup, books), Paint::Plain),
        None => line.push("no books.", Paint::Plain),
    }
    for note in &cgroup.notes {
        line.push(format!(" {}.", text::clean(note)), Paint::Bad);
    }
    page.prose(&line, 2)
}

fn charge(cgroup: &Cgroup, books: &CgroupBooks) -> String {
    let mut words = size(books.current_bytes);
    words.push_str(" charged");
    let limit = ["memory.max", "memory.limit_in_bytes"];
    if let Some(limit) = limit.iter().find_map(|name| books.limits.get(*name)) {
        words.push_str(&format!(" of at most {}", size(*limit)));
    }
    if let Some(before) = &cgroup.before {
        words.push_str(&format!(" ({} at the start)", size(before.current_bytes)));
    }
    words.push('.');
    if let Some(pages) = cgroup.pages {
        words.push_str(&format!(
            " Pages of the processes: anonymous {}, files and shared memory {}",
            size(pages.anon_bytes),
            size(pages.file_bytes)
        ));
        if pages.elsewhere_bytes > 0 {
            let size = size(pages.elsewhere_bytes);
            words.push_str(&format!("; {size} more are charged to other groups"));
        }
        words.push('.');
    }
    let rest: Vec<String> = cgroup
        .unexplained
        .iter()
        .map(|rest| {
            let sign = if rest.bytes < 0 { "-" } else { "" };
            let size = size(rest.bytes.unsigned_abs());
            format!("{} {sign}{size}", text::clean(named(&rest.reason)))
        })
        .collect();
    if !rest.is_empty() {
        words.push_str(&format!(" The rest: {}.", rest.join(", ")));
    }
    for (name, one, more) in [
        ("oom_kill", "process killed for want of memory", "processes killed for want of memory"),
        ("max", "charge at the limit", "charges at the limit"),
        ("failcnt", "charge at the limit", "charges at the limit"),
    ] {
        let many = books.events.get(name).copied().unwrap_or(0);
        if many > 0 {
            words.push_str(&format!(" {}.", number::count(many, one, more)));
        }
    }
    words
}

/// Bytes in the unit that fits, with one decimal.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x10_0000 => (1_u64 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A reason in words.
fn named(reason: &str) -> &str {
    match reason {
        "anon-of-others" => "anonymous memory of other processes and of swap",
        "page-cache-of-others" => "page cache mapped by others",
        "page-cache-unmapped" => "page cache not mapped",
        "kernel" => "kernel memory",
        "sockets" => "socket buffers",
        "books" => "not in the kernel's own counts",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::CgroupPages;
    use crate::view::Style;

    #[test]
    fn a_group_is_told_in_a_paragraph() {
        let books = CgroupBooks {
            current_bytes: 100 << 20,
            anon_bytes: Some(60 << 20),
            file_bytes: Some(30 << 20),
            file_mapped_bytes: Some(10 << 20),
            kernel_bytes: Some(9 << 20),
            limits: BTreeMap::from([("memory.max".to_owned(), 128 << 20)]),
            events: BTreeMap::from([("oom_kill".to_owned(), 1), ("max".to_owned(), 7)]),
            ..CgroupBooks::default()
        };
        let pages = CgroupPages {
            anon_bytes: 60 << 20,
            file_bytes: 8 << 20,
            elsewhere_bytes: 2 << 20,
            ..CgroupPages::default()
        };
        let mut cgroup = Cgroup {
            path: "/system.slice/a\u{1b}.service".to_owned(),
            version: 2,
            before: Some(CgroupBooks { current_bytes: 1 << 20, ..CgroupBooks::default() }),
            after: Some(books),
            pages: Some(pages),
            ..Cgroup::default()
        };
        cgroup.divide();
        let mut out = Vec::new();
        write(&cgroup, &mut Page::new(&mut out, Style::default())).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{1b}'), "{text}");
        for part in [
            "100.0 MiB charged of at most 128.0 MiB (1.0 MiB at the start).",
            "anonymous 60.0 MiB, files and shared memory 8.0 MiB; 2.0 MiB more are charged to other",
            "page cache mapped by others 2.0 MiB, page cache not mapped 20.0 MiB, kernel memory 9.0 MiB",
            "not in the kernel's own counts 1.0 MiB.",
            "1 process killed for want of memory. 7 charges at the limit.",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
