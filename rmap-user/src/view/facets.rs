//! What else is known of a group, in few words: its largest cause or owner, where it is, by which call.
//!
//! Comes in: a group of parts. Goes out: clean text for a cell.

use crate::insight::group::{By, Group};
use crate::insight::kind;
use crate::insight::part::{Bytes, Parts};

use super::text;

/// The largest of a group's parts by another key, and how many others there are.
#[must_use]
pub fn largest(parts: &Parts<'_>, group: &Group, by: By) -> String {
    largest_of(parts, group.parts.clone(), by)
}

/// The same of some parts.
#[must_use]
pub fn largest_of(parts: &Parts<'_>, some: Vec<usize>, by: By) -> String {
    let found = parts.group(some, &[by]);
    let Some(first) = found.iter().find(|found| !found.label.residual) else {
        return String::new();
    };
    let name = text::clean(&first.label.name);
    let more = found.len() - 1;
    if more > 0 { format!("{name} +{more}") } else { name }
}

/// Where most of a group is.
#[must_use]
pub fn place(parts: &Parts<'_>, group: &Group) -> String {
    let mut names: Vec<(String, Bytes)> = Vec::new();
    for part in group.parts.iter().filter_map(|at| parts.all.get(*at)) {
        let whole = kind::short_name(part.segment);
        let name = &*whole;
        // The version of a library says little here.
        let name = name.find(".so.").map_or(name, |at| name.get(..at + 3).unwrap_or(name));
        let name = text::clean(name);
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, bytes)) => *bytes += part.bytes,
            None => names.push((name, part.bytes)),
        }
    }
    let more = names.len().saturating_sub(1);
    let first = names.into_iter().max_by_key(|(_, bytes)| bytes.weight());
    match (first, more) {
        (None, _) => String::new(),
        (Some((name, _)), 0) => name,
        (Some((name, _)), more) => format!("{name} +{more}"),
    }
}

/// What was skipped from the owner to the page, of the largest part.
#[must_use]
pub fn via(parts: &Parts<'_>, group: &Group) -> String {
    let of_group = group.parts.iter().filter_map(|at| parts.all.get(*at));
    let largest = of_group.max_by_key(|part| part.bytes.weight());
    let via = largest.and_then(|part| part.stack).map(|stack| parts.owners.via(stack));
    let via: Vec<String> =
        via.unwrap_or_default().iter().take(2).map(|name| text::clean(name)).collect();
    if via.is_empty() { String::new() } else { format!("via {}", via.join(", ")) }
}
