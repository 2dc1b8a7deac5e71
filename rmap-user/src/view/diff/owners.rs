//! The owners whose memory differs: what a person looks at first.
//!
//! Comes in: two reports. Goes out: one row for each owner whose sums differ. An owner is the same one by
//! its name and its file: its lines move from version to version.

use std::collections::BTreeMap;

use super::{Change, Sizes};
use crate::insight::group::{By, Label};
use crate::insight::part::Parts;
use crate::insight::rules::Rules;
use crate::report::Report;
use crate::view::text;

/// The rows, in no order.
pub(super) fn changes(a: &Report, b: &Report) -> Vec<Change> {
    let rules = Rules::built_in();
    let mut sums: BTreeMap<(String, String), (Label, [Sizes; 2])> = BTreeMap::new();
    let mut add = |report: &Report, side: fn(&mut Sizes) -> &mut i64| {
        for group in Parts::of(report, &rules).by(&[By::Owner]) {
            let key = (group.label.name.clone(), file(&group.label).to_owned());
            let (label, sizes) = sums.entry(key).or_default();
            for (sizes, bytes) in sizes.iter_mut().zip([group.bytes.rss, group.bytes.dirty]) {
                let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                *side(sizes) = side(sizes).saturating_add(bytes);
            }
            *label = group.label;
        }
    };
    add(a, |sizes| &mut sizes.a);
    add(b, |sizes| &mut sizes.b);
    let differ = sums.into_values().filter(|(_, sums)| sums.iter().any(|s| s.change() != 0));
    differ
        .map(|(label, [rss_bytes, dirty_bytes])| Change {
            program: String::new(),
            names: vec![text::clean(&label.name)],
            kind: text::clean(label.place.as_deref().unwrap_or_default()),
            mapped_by: Vec::new(),
            rss_bytes,
            dirty_bytes,
        })
        .collect()
}

/// The file of an owner's place, without the lines; empty where there is none.
fn file(label: &Label) -> &str {
    label.place.as_deref().and_then(|place| place.rsplit_once(':')).map_or("", |(file, _)| file)
}
