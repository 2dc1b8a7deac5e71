//! Texts of rows in little room: rows that differ never print the same text.
//!
//! Comes in: for each row its text, and what tells it from others of that text. Goes out: one
//! text for each row, no wider than the room, no two alike. Call paths (parts joined by ` ← `)
//! are folded frame by frame, other texts in their middle; both keep what tells them apart.

use std::collections::{BTreeSet, HashMap};

use crate::insight::group::CALLER;
use crate::view::text;

/// The text of one row. Both strings are clean.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// What is shown where it tells the row from all others.
    pub name: String,
    /// What is added where it does not: the first of these that does.
    pub apart: Vec<String>,
}

/// One text for each row, in at most `room` columns, no two alike.
#[must_use]
pub fn fit(rows: &[Text], room: Option<usize>) -> Vec<String> {
    let room = room.unwrap_or(usize::MAX).max(LEAST);
    let full = in_full(rows);
    let mut shown: Vec<String> = full.iter().map(|text| shorten(text, &[], room)).collect();
    for alike in alike(&shown) {
        let texts: Vec<&str> =
            alike.iter().filter_map(|at| full.get(*at)).map(String::as_str).collect();
        for (at, text) in alike.iter().zip(&texts) {
            if let Some(shown) = shown.get_mut(*at) {
                *shown = shorten(text, &texts, room);
            }
        }
    }
    number(&mut shown, room);
    shown
}

/// What tells names apart is no longer than this, whatever the room.
const LONGEST_APART: usize = 80;

/// In less room nothing can be told apart.
const LEAST: usize = 8;

/// The whole texts: where rows have one name, with the first of what tells them all apart; where
/// nothing alone does, with everything.
fn in_full(rows: &[Text]) -> Vec<String> {
    let mut full: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    for alike in alike(&full) {
        let same: Vec<&Text> = alike.iter().filter_map(|at| rows.get(*at)).collect();
        let levels = same.iter().map(|row| row.apart.len()).min().unwrap_or(0);
        let tells = (0..levels).find(|level| {
            let values: BTreeSet<Option<&String>> =
                same.iter().map(|row| row.apart.get(*level)).collect();
            values.len() == same.len()
        });
        for at in alike {
            let Some((text, row)) = full.get_mut(at).zip(rows.get(at)) else { continue };
            let apart = match tells {
                Some(level) => row.apart.get(level).cloned().unwrap_or_default(),
                None => row.apart.join(" "),
            };
            let apart = text::cut_middle(&apart, LONGEST_APART);
            if !apart.is_empty() && apart != row.name {
                *text = format!("{text} ({apart})");
            }
        }
    }
    full
}

/// The places of texts that are there more than once.
fn alike(texts: &[String]) -> Vec<Vec<usize>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, text) in texts.iter().enumerate() {
        places.entry(text).or_default().push(at);
    }
    let mut alike: Vec<Vec<usize>> = places.into_values().filter(|at| at.len() > 1).collect();
    alike.sort_unstable();
    alike
}

/// Numbers those that are still alike: ` #2`, ` #3`.
fn number(shown: &mut [String], room: usize) {
    // A number may make a text that another row has; each pass changes later rows only.
    for _ in 0..shown.len() {
        let alike = alike(shown);
        if alike.is_empty() {
            return;
        }
        for places in alike {
            for (n, at) in places.into_iter().enumerate().skip(1) {
                let sign = format!(" #{}", n + 1);
                if let Some(text) = shown.get_mut(at) {
                    let rest = room.saturating_sub(text::width(&sign));
                    *text = format!("{}{sign}", text::cut(text, rest));
                }
            }
        }
    }
}

/// A text in at most `room` columns that keeps what the `others` do not have.
fn shorten(full: &str, others: &[&str], room: usize) -> String {
    if text::width(full) <= room {
        return full.to_owned();
    }
    if full.contains(CALLER) {
        return fold(full, others, room);
    }
    let common = common_head(full, others);
    // What differs near the ends is kept by a cut in the middle.
    let middle = text::cut_middle(full, room);
    let differs = others.iter().filter(|other| **other != full);
    if differs.clone().all(|other| text::cut_middle(other, room) != middle) {
        return middle;
    }
    let front = room / 4;
    let from = full.char_indices().map(|(at, _)| at).take_while(|at| *at <= common).last();
    let rest = full.get(from.unwrap_or(0)..).unwrap_or_default();
    format!("{}…{}", text::head(full, front), text::cut(rest, room - front - 1))
}

/// Bytes that all texts begin with.
fn common_head(full: &str, others: &[&str]) -> usize {
    let common =
        |other: &&&str| full.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    others.iter().filter(|other| **other != full).map(|other| common(&other)).min().unwrap_or(0)
}

/// A call path with frames left out: the innermost and the outermost stay, and those that the
/// others do not have; then as many as there is room for, from the inside out.
fn fold(full: &str, others: &[&str], room: usize) -> String {
    let frames: Vec<&str> = full.split(CALLER).collect();
    let last = frames.len() - 1;
    let mut kept = telling(&frames, others.iter().filter(|other| **other != full));
    kept.extend([0, last]);
    // Names give way before frames that tell rows apart do.
    let signs = (2 * kept.len() - 1) * (text::width(CALLER) + 1);
    let most = (room.saturating_sub(signs) / kept.len()).max(room / 3).max(LEAST);
    for at in 1..last {
        let mut more = kept.clone();
        more.insert(at);
        if text::width(&joined(&frames, &more, most)) > room {
            break;
        }
        kept = more;
    }
    let line = joined(&frames, &kept, most);
    if text::width(&line) <= room {
        return line;
    }
    let most = (room.saturating_sub(signs) / kept.len()).max(3);
    text::cut_middle(&joined(&frames, &kept, most), room)
}

/// The fewest frames, as far as a simple search finds them, that tell a call path from others.
fn telling<'a>(frames: &[&str], others: impl Iterator<Item = &'a &'a str>) -> BTreeSet<usize> {
    let mut others: Vec<Vec<&str>> = others.map(|other| other.split(CALLER).collect()).collect();
    let mut kept = BTreeSet::new();
    while !others.is_empty() {
        let lack = |at: usize| {
            let frame = frames.get(at);
            others.iter().filter(|other| !other.iter().any(|name| Some(name) == frame)).count()
        };
        let best = (0..frames.len()).max_by_key(|at| (lack(*at), std::cmp::Reverse(*at)));
        match best.filter(|at| lack(*at) > 0) {
            Some(at) => {
                let frame = frames.get(at);
                others.retain(|other| other.iter().any(|name| Some(name) == frame));
                kept.insert(at);
            }
            None => {
                // They have the same functions in another order, or more of them.
                let places = others
                    .iter()
                    .filter_map(|other| frames.iter().zip(other).position(|(a, b)| a != b));
                kept.extend(places.take(1));
                break;
            }
        }
    }
    kept
}

fn joined(frames: &[&str], kept: &BTreeSet<usize>, most: usize) -> String {
    let mut line = String::new();
    let mut next = 0;
    for &at in kept {
        if next > 0 {
            line.push_str(CALLER);
        }
        if at > next {
            line.push('…');
            line.push_str(CALLER);
        }
        line.push_str(&text::cut_middle(frames.get(at).copied().unwrap_or_default(), most));
        next = at + 1;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(names: &[&str]) -> Vec<Text> {
        names.iter().map(|name| Text { name: (*name).to_owned(), apart: Vec::new() }).collect()
    }

    #[test]
    fn folding_keeps_the_frames_that_tell_call_paths_apart() {
        let rows = texts(&[
            "memset ← grow ← a ← b ← load_users ← c ← d ← e ← main",
            "memset ← grow ← a ← b ← load_items ← c ← d ← e ← main",
        ]);
        assert_eq!(
            fit(&rows, Some(40)),
            ["memset ← … ← load_users ← … ← main", "memset ← … ← load_items ← … ← main"]
        );
        assert_eq!(fit(&rows, None), [rows[0].name.clone(), rows[1].name.clone()]);
    }

    #[test]
    fn long_names_keep_what_differs() {
        let rows = texts(&[
            "geometry::transform::Matrix::multiply_by_vector_fast",
            "geometry::transform::Matrix::multiply_by_matrix_fast",
        ]);
        let shown = fit(&rows, Some(24));
        assert!(shown[0].contains("vector") && shown[1].contains("matrix"), "{shown:?}");
    }

    #[test]
    fn one_name_in_two_places_shows_the_places() {
        let row = |apart: &str| Text { name: "init".into(), apart: vec![apart.into()] };
        let shown = fit(&[row("liba.so"), row("libb.so"), row("libb.so")], Some(40));
        assert_eq!(shown, ["init (liba.so)", "init (libb.so)", "init (libb.so) #2"]);
    }

    proptest! {
        #[test]
        fn no_two_rows_are_alike_and_all_fit(
            names in proptest::collection::vec(("[ab]{0,30}|([ab]{1,3} ← ){1,9}c", proptest::collection::vec("[ab]{0,9}", 0..3)), 0..12),
            room in 12usize..60,
        ) {
            let rows: Vec<Text> =
                names.into_iter().map(|(name, apart)| Text { name, apart }).collect();
            let shown = fit(&rows, Some(room));
            prop_assert_eq!(shown.len(), rows.len());
            prop_assert!(shown.iter().all(|text| text::width(text) <= room), "{:?}", shown);
            prop_assert_eq!(shown.iter().collect::<BTreeSet<_>>().len(), shown.len(), "{:?}", shown);
        }
    }
}
