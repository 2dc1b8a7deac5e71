//! Which code is the first to read a page of a file is chance: it is one row.
//!
//! Comes in: code paths with the sizes in both reports. Goes out: the same, where those that differ
//! by one neighbourhood of a file's pages at most are one row of each program. The kernel maps up to
//! 64 KiB around a page that is read (`fault_around_bytes`, `mm/memory.c`). Libraries lie elsewhere
//! in each run, so these neighbourhoods are others, and so are those who come to them first.

use std::collections::BTreeMap;

use super::{Chain, Key, Sizes, Sums};

/// The most that one read brings, in bytes.
const NEIGHBOURHOOD: u128 = 64 << 10;

/// Joins the code paths that read one neighbourhood more or less.
pub(super) fn join(paths: &mut Sums) {
    let mut groups: BTreeMap<String, Vec<Key>> = BTreeMap::new();
    for (key, [rss, dirty]) in paths.iter() {
        let change = rss.change().unsigned_abs();
        if key.kind == "file-read" && (1..=NEIGHBOURHOOD).contains(&change) && dirty.change() == 0 {
            groups.entry(key.program.clone()).or_default().push(key.clone());
        }
    }
    for (program, keys) in groups {
        if keys.len() < 2 {
            continue;
        }
        let sums = keys.iter().filter_map(|key| paths.remove(key)).fold(
            [Sizes::default(); 2],
            |sums, sizes| {
                [0, 1].map(|at| Sizes {
                    a: sums[at].a.saturating_add(sizes[at].a),
                    b: sums[at].b.saturating_add(sizes[at].b),
                })
            },
        );
        let name =
            format!("[{} code paths, up to 64 KiB each: who reads first is chance]", keys.len());
        let stack = Chain { names: vec![name], complete: true };
        let kind = "file-read".to_owned();
        paths.insert(Key { program, name: Vec::new(), kind, call: None, stack }, sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbourhood_is_chance_and_more_is_not() {
        let key = |name: &str, kind: &str| Key {
            program: "p".to_owned(),
            name: Vec::new(),
            kind: kind.to_owned(),
            call: None,
            stack: Chain { names: vec![name.to_owned()], complete: true },
        };
        let of = |a, b| [Sizes { a, b }, Sizes::default()];
        let mut paths = Sums::from([
            (key("f", "file-read"), of(65_536, 0)),
            (key("g", "file-read"), of(0, 65_536)),
            (key("h", "file-read"), of(8192, 4096)),
            (key("same", "file-read"), of(8192, 8192)),
            (key("scan", "file-read"), of(0, 1 << 20)),
            (key("write", "first-write"), of(0, 4096)),
        ]);
        join(&mut paths);
        let rows: Vec<(&str, Sizes)> =
            paths.iter().map(|(key, sizes)| (key.stack.names[0].as_str(), sizes[0])).collect();
        let chance = "[3 code paths, up to 64 KiB each: who reads first is chance]";
        assert_eq!(
            rows,
            [
                (chance, Sizes { a: 73_728, b: 69_632 }),
                ("same", Sizes { a: 8192, b: 8192 }),
                ("scan", Sizes { a: 0, b: 1 << 20 }),
                ("write", Sizes { a: 0, b: 4096 }),
            ]
        );
    }
}
