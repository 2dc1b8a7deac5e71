//! Call paths as a tree with bytes, from the root or from the leaf.
//!
//! Comes in: a tree. Goes out: a line for each node that holds enough; the others of one node are
//! one line, so each level adds up.

use std::io;

use crate::insight::part::Bytes;
use crate::insight::tree::Node;
use crate::view::number;
use crate::view::paint::{Line, Page, Paint};
use crate::view::text;

use super::apart::{Text, fit};
use crate::view::unit::Unit;

/// Deeper than this the indent grows no further.
const DEEPEST: usize = 24;

/// What is shown of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    /// What the shares are of.
    pub total: Bytes,
    /// The unit of the figures.
    pub unit: Unit,
    /// Children of one node with less than this part of the total are one line; `None`: all.
    pub least: Option<i128>,
}

impl Tree {
    /// Writes the header and the nodes.
    pub fn print(&self, nodes: &[Node], page: &mut Page<'_>) -> io::Result<()> {
        let head = format!("{:>9} {:>5} {:>9}  Function", "RSS", "Share", "Dirty");
        page.line(&Line::of(head, Paint::Dim))?;
        self.level(nodes, 0, page)
    }

    fn level(&self, nodes: &[Node], depth: usize, page: &mut Page<'_>) -> io::Result<()> {
        let weight = |bytes: Bytes| bytes.rss.abs().max(bytes.dirty.abs());
        let all = weight(self.total);
        let enough = |node: &&Node| {
            self.least.is_none_or(|part| weight(node.bytes).saturating_mul(part) >= all)
        };
        let shown = nodes.iter().take_while(enough).count();
        let (shown, rest) = nodes.split_at(shown);
        let texts: Vec<Text> = shown
            .iter()
            .map(|node| {
                let place = node.label.place.as_deref().map(|place| format!("  {place}"));
                Text {
                    name: text::clean(&format!("{}{}", node.label.name, place.unwrap_or_default())),
                    apart: node.label.apart.iter().map(|apart| text::clean(apart)).collect(),
                }
            })
            .collect();
        let indent = depth.min(DEEPEST);
        let room = page.style.width.map(|width| width.saturating_sub(27 + indent));
        for (node, name) in shown.iter().zip(fit(&texts, room)) {
            let paint = if node.label.residual { Paint::Bad } else { Paint::Plain };
            self.line(node.bytes, indent, &name, paint, page)?;
            self.level(&node.children, depth + 1, page)?;
        }
        if !rest.is_empty() {
            let bytes = rest.iter().map(|node| node.bytes).sum();
            let name = number::count(rest.len() as u64, "more function", "more functions");
            self.line(bytes, indent, &name, Paint::Dim, page)?;
        }
        Ok(())
    }

    fn line(
        &self,
        bytes: Bytes,
        indent: usize,
        name: &str,
        paint: Paint,
        page: &mut Page<'_>,
    ) -> io::Result<()> {
        let share = if self.total.rss > 0 && bytes.rss >= 0 {
            number::share(bytes.rss.unsigned_abs(), self.total.rss.unsigned_abs())
        } else {
            "-".to_owned()
        };
        let line = Line::of(format!("{:>9}", self.unit.figure(bytes.rss)), paint)
            .and(format!(" {share:>5}"), Paint::Dim)
            .and(format!(" {:>9}", self.unit.figure(bytes.dirty)), paint)
            .and(format!("  {}", " ".repeat(indent)), Paint::Plain)
            .and(name, paint);
        page.line(&line)
    }
}
