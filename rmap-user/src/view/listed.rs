//! What all tables of segments have alike: the order of the rows, and how `pmap -x` writes an address
//! and permissions.
//!
//! Comes in: segments. Goes out: their order, and text for cells.

use super::order::{Keys, Sort};
use super::samples::segment_name;
use super::{number, text};
use crate::report::{Address, Segment};

/// The segments as they were asked for.
pub(super) fn in_order(segments: &[Segment], sort: Sort) -> Vec<&Segment> {
    let mut order: Vec<&Segment> = segments.iter().collect();
    let keys = Keys {
        total: &|s: &&Segment| i128::from(s.rss_bytes.after) + i128::from(s.dirty_bytes.after),
        rss: &|s| s.rss_bytes.after.into(),
        dirty: &|s| s.dirty_bytes.after.into(),
        growth: &|s| number::change(s.rss_bytes) + number::change(s.dirty_bytes),
        address: Some(&|s| s.start.0),
        name: &|s| segment_name(s),
    };
    sort.order(&mut order, &keys);
    order
}

/// As `pmap -x` prints addresses: 16 digits without `0x`.
pub(super) fn address(start: Address) -> String {
    format!("{:016x}", start.0)
}

/// As `pmap -x` prints permissions: `rw-p` is `rw---`, `rw-s` is `rw-s-`.
pub(super) fn mode(perms: &str) -> String {
    let known = perms.len() == 4 && perms.chars().all(|c| "rwxsp-".contains(c));
    if known { format!("{}-", perms.replace('p', "-")) } else { text::clean(perms) }
}
