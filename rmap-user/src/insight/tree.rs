//! The bytes of a report as a tree of call paths, from the root or from the leaf.
//!
//! Comes in: parts. Goes out: nodes, the largest first. A node's bytes are its own and those of
//! all below it, so each level adds up to the node above it; residuals and what the kernel did
//! stand on the first level.

use rustc_hash::FxHashMap;

use super::group::{By, Label, apart};
use super::owner;
use super::part::{Bytes, Parts};

/// From which end the tree grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Callers above callees: `main` first.
    FromRoot,
    /// Callees above callers: what touched the pages first.
    FromLeaf,
}

/// A function with those that it calls, or that call it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The function; of what has no call path, what it is.
    pub label: Label,
    /// Its own bytes and those of all below it.
    pub bytes: Bytes,
    /// Its own alone: call paths that end here.
    pub own: Bytes,
    /// What is below it.
    pub children: Vec<Self>,
}

/// A node while the tree grows; its children are places in the list of all.
#[derive(Default)]
struct Growing {
    function: u32,
    bytes: Bytes,
    own: Bytes,
    children: FxHashMap<u32, usize>,
}

/// All parts of a report as a tree.
#[must_use]
pub fn tree(parts: &Parts<'_>, direction: Direction) -> Vec<Node> {
    let mut all = vec![Growing::default()];
    let mut alone = Vec::new();
    for (number, part) in parts.all.iter().enumerate() {
        let functions = part.stack.map_or(&[][..], |stack| parts.owners.functions(stack));
        if functions.is_empty() {
            alone.push(number);
            continue;
        }
        let mut at = 0;
        for step in 0..functions.len() {
            let place = match direction {
                Direction::FromRoot => functions.len() - 1 - step,
                Direction::FromLeaf => step,
            };
            let Some(&function) = functions.get(place) else { continue };
            at = child(&mut all, at, function);
            if let Some(node) = all.get_mut(at) {
                node.bytes += part.bytes;
            }
        }
        if let Some(node) = all.get_mut(at) {
            node.own += part.bytes;
        }
    }
    let mut roots = children(parts, &all, 0);
    roots.extend(parts.group(alone, &[By::Path]).into_iter().map(|group| Node {
        label: group.label,
        bytes: group.bytes,
        own: group.bytes,
        children: Vec::new(),
    }));
    sort(&mut roots);
    roots
}

/// The child of the node at `parent` for a function, made if it is not there.
fn child(all: &mut Vec<Growing>, parent: usize, function: u32) -> usize {
    let next = all.len();
    let Some(node) = all.get_mut(parent) else { return parent };
    let at = *node.children.entry(function).or_insert(next);
    if at == next {
        all.push(Growing { function, ..Growing::default() });
    }
    at
}

fn children(parts: &Parts<'_>, all: &[Growing], parent: usize) -> Vec<Node> {
    let Some(parent) = all.get(parent) else { return Vec::new() };
    let mut nodes: Vec<Node> = parent
        .children
        .values()
        .filter_map(|at| {
            let node = all.get(*at)?;
            let frame = parts.owners.function(node.function)?;
            let label = Label {
                name: owner::display(frame),
                place: owner::place(frame).map(|(file, _)| file.to_owned()),
                apart: apart(frame),
                ..Label::default()
            };
            let children = children(parts, all, *at);
            Some(Node { label, bytes: node.bytes, own: node.own, children })
        })
        .collect();
    sort(&mut nodes);
    nodes
}

fn sort(nodes: &mut [Node]) {
    nodes.sort_by(|a, b| (b.bytes.weight(), &a.label).cmp(&(a.bytes.weight(), &b.label)));
}
