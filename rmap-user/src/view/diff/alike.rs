//! Stacks that are not whole, matched with those that begin like them.
//!
//! Comes in: what is compared, with the sizes in both reports. Goes out: the same, where a stack
//! that ends early in one report counts with the one that goes on from there in the other. Without
//! that, such a stack makes a pair of equal and opposite rows.

use std::collections::BTreeMap;

use super::{Chain, Key, Sizes, Sums};

/// Joins what is not whole with what it begins like, where that makes the difference smaller. Of
/// several, the one is taken that leaves the least.
pub(super) fn join(sums: &mut Sums) {
    let mut groups: BTreeMap<_, Vec<Key>> = BTreeMap::new();
    for (key, _) in sums.iter().filter(|(_, sizes)| change(sizes) != 0) {
        let group = (key.program.clone(), key.name.clone(), key.kind.clone());
        groups.entry(group).or_default().push(key.clone());
    }
    for keys in groups.values() {
        // The longest first: it has the fewest candidates.
        let mut short: Vec<&Key> = keys.iter().filter(|key| !key.stack.complete).collect();
        short.sort_by_key(|key| std::cmp::Reverse(key.stack.functions().len()));
        for key in short {
            let Some(own) = sums.get(key).copied() else { continue };
            let best = keys
                .iter()
                .filter(|other| *other != key && key.begins_like(other))
                .filter_map(|other| {
                    let theirs = sums.get(other)?;
                    let joined = change(&both(own, *theirs));
                    (joined < change(&own) + change(theirs)).then_some((joined, other))
                })
                .min_by_key(|(joined, _)| *joined);
            if let Some((_, other)) = best {
                sums.remove(key);
                if let Some(theirs) = sums.get_mut(other) {
                    *theirs = both(own, *theirs);
                }
            }
        }
    }
}

/// By how much it changes, RSS and Dirty together.
fn change(sizes: &[Sizes; 2]) -> u128 {
    sizes.iter().map(|sizes| sizes.change().unsigned_abs()).sum()
}

fn both(a: [Sizes; 2], b: [Sizes; 2]) -> [Sizes; 2] {
    let add = |a: Sizes, b: Sizes| Sizes { a: a.a.saturating_add(b.a), b: a.b.saturating_add(b.b) };
    [add(a[0], b[0]), add(a[1], b[1])]
}

impl Key {
    /// Whether this one, whose stack is not whole, may be the other one. A mapping of a file is
    /// told by its name; anonymous memory and code paths need a function in common.
    fn begins_like(&self, other: &Self) -> bool {
        let named = self.name.iter().any(|name| name != "[anon]");
        let call = self.call.is_none() || other.call.is_none() || self.call == other.call;
        call && self.stack.begins_like(&other.stack, if named { 0 } else { 1 })
    }
}

impl Chain {
    /// The functions without the mark at the end of one that is not whole.
    fn functions(&self) -> &[String] {
        match self.names.split_last() {
            Some((last, rest)) if is_mark(last) => rest,
            _ => &self.names,
        }
    }

    /// Whether the functions of this one stand in the other one from the innermost on: all of them
    /// in a row; or, where it was walked by frame pointers and frames may be missing, in that order.
    fn begins_like(&self, other: &Self, at_least: usize) -> bool {
        let (own, theirs) = (self.functions(), other.functions());
        if own.len() < at_least || own.first() != theirs.first() && !own.is_empty() {
            return false;
        }
        if self.names.last().is_some_and(|last| last.starts_with("[approximate")) {
            let mut theirs = theirs.iter();
            return own.iter().all(|name| theirs.any(|other| other == name));
        }
        theirs.starts_with(own)
    }
}

fn is_mark(name: &str) -> bool {
    ["[incomplete", "[approximate"].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, stack: &str, complete: bool) -> Key {
        Key {
            program: "p".to_owned(),
            name: if name.is_empty() { Vec::new() } else { vec![name.to_owned()] },
            kind: "rw-p".to_owned(),
            call: None,
            stack: Chain { names: stack.split_whitespace().map(str::to_owned).collect(), complete },
        }
    }

    fn joined(rows: &[(Key, i64, i64)]) -> Vec<(String, i64, i64)> {
        let row = |(key, a, b): &(Key, i64, i64)| {
            (key.clone(), [Sizes { a: *a, b: *b }, Sizes::default()])
        };
        let mut sums: Sums = rows.iter().map(row).collect();
        join(&mut sums);
        let row =
            |(key, sizes): (Key, [Sizes; 2])| (key.stack.names.join(" "), sizes[0].a, sizes[0].b);
        sums.into_iter().map(row).collect()
    }

    #[test]
    fn what_ends_early_counts_with_what_goes_on_from_there() {
        let cut = key("[anon]", "mmap new_arena [incomplete:no]", false);
        let whole = key("[anon]", "mmap new_arena malloc main", true);
        let other = key("[anon]", "mmap new_arena malloc other", true);
        let rows = [(cut.clone(), 100, 0), (whole.clone(), 0, 104), (other, 0, 8)];
        let want = [
            ("mmap new_arena malloc main".to_owned(), 100, 104),
            ("mmap new_arena malloc other".to_owned(), 0, 8),
        ];
        assert_eq!(joined(&rows), want);
        // Both grew: nothing says that they are one.
        assert_eq!(joined(&[(cut, 0, 100), (whole, 0, 104)]).len(), 2);
    }

    #[test]
    fn whole_stacks_and_strangers_stay_apart() {
        let rows = |a: Key, b: Key| joined(&[(a, 100, 0), (b, 0, 100)]).len();
        let whole = key("[anon]", "mmap f main", true);
        assert_eq!(rows(key("[anon]", "mmap f", true), whole.clone()), 2);
        assert_eq!(rows(key("[anon]", "mmap g", false), whole.clone()), 2);
        assert_eq!(rows(key("[anon]", "", false), whole.clone()), 2);
        assert_eq!(rows(key("/lib/x", "", false), key("/lib/x", "mmap f main", true)), 1);
        assert_eq!(rows(key("", "f [incomplete:x]", false), key("", "f main", true)), 1);
        assert_eq!(rows(key("", "", false), key("", "f main", true)), 2);
        assert_eq!(rows(key("", "f main [approximate:x]", false), key("", "f g main _s", true)), 1);
        assert_eq!(rows(key("", "f main [incomplete:x]", false), key("", "f g main _s", true)), 2);
    }
}
