//! The story of a segment for people and for programs.
//!
//! Comes in: an [`Explanation`]. Goes out: for each story who mapped it, what happened in time, the
//! code paths as a tree with bytes, and its pages as a map of who owns what; or JSON.

mod map;
mod timeline;
mod tree;

use std::io;

use crate::report::Explanation;
use crate::report::story::Story;

use super::chain::{Stacks, base_name};
use super::paint::{Line, Page, Paint};
use super::{Style, number, rewrites, text, words};

/// Writes the stories.
///
/// # Errors
/// The writer's.
pub fn write(explanation: &Explanation, style: Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(out, style);
    let stacks = Stacks::new(&explanation.stacks);
    for (at, story) in explanation.stories.iter().enumerate() {
        if at > 0 {
            page.gap()?;
        }
        head(story, &stacks, &mut page)?;
        page.gap()?;
        timeline::write(story, &stacks, &mut page)?;
        if let Some(segment) = &story.segment {
            page.gap()?;
            tree::write(segment, &explanation.stacks, &mut page)?;
            page.gap()?;
            map::write(story, segment, &stacks, &mut page)?;
        }
    }
    if explanation.left_out > 0 {
        page.gap()?;
        let more = number::count(explanation.left_out, "more segment is", "more are");
        let line = format!(
            "{more} meant, smaller than these and not told of: choose by --process, or by an address."
        );
        page.prose(&Line::of(line, Paint::Dim), 2)?;
    }
    let lost = &explanation.coverage.lost;
    if lost.events + lost.stacks + lost.snapshots > 0 {
        page.gap()?;
        let line = format!(
            "Lost: {} events, {} stacks, {} snapshots: some of it may be missing here.",
            lost.events, lost.stacks, lost.snapshots
        );
        page.prose(&Line::of(line, Paint::Bad), 2)?;
    }
    Ok(())
}

/// Writes the JSON with a line end behind it.
///
/// # Errors
/// The writer's.
pub fn write_json(explanation: &Explanation, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, explanation).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// Whose segment it is, its sizes, and who mapped it.
fn head(story: &Story, stacks: &Stacks<'_>, page: &mut Page<'_>) -> io::Result<()> {
    let name = match (story.name.as_str(), &story.segment) {
        ("", _) => "[anon]".to_owned(),
        (name, _) => text::clean(name),
    };
    let room = page.style.width.unwrap_or(text::LONGEST);
    let place = format!("{}-{}", story.start, story.end);
    let mut line = Line::of(text::cut_path(&name, room / 2), Paint::Strong);
    let whose = format!(" of {} {}", story.pid, base_name(&text::clean(&story.exe)));
    line.push(whose, Paint::Strong);
    line.push(format!("  {place}"), Paint::Plain);
    if let Some(segment) = &story.segment {
        line.push(format!(" {}", text::clean(&segment.perms)), Paint::Plain);
    }
    page.prose(&line, 2)?;

    let mut line = Line::of("  ", Paint::Plain);
    match &story.segment {
        Some(segment) => {
            let (rss, dirty) = (segment.rss_bytes.after, segment.dirty_bytes.after);
            line.push(format!("RSS {}, ", number::size(rss)), Paint::Strong);
            line.push(format!("Dirty {}", number::size(dirty)), Paint::Dirty);
            let size = number::size(segment.size_bytes);
            line.push(format!(" of {size} mapped; "), Paint::Plain);
            line.push(format!("{}.", words::snapshot(story.snapshot)), Paint::Plain);
        }
        None => line.push("It is no longer mapped.", Paint::Plain),
    }
    page.prose(&line, 2)?;
    let rewritten = story.segment.as_ref().and_then(|segment| segment.rewritten.as_ref());
    rewritten.map_or(Ok(()), |rewritten| rewrites::of_segment(rewritten, page))?;
    let mapped_by = story.segment.as_ref().and_then(|segment| segment.mapped_by.as_ref());
    if let Some(by) = mapped_by {
        let mut line = Line::of("  Mapped by ", Paint::Plain);
        line.push(text::clean(by.call.as_str()), Paint::Cause);
        line.push(
            format!(", {} after the start, thread {}", number::duration(by.at_ns), by.tid),
            Paint::Plain,
        );
        if by.stack.is_some() {
            line.push(": ", Paint::Plain);
            let room = page.style.width.map(|width| width.saturating_sub(4));
            line.append(stacks.chain(&[by.stack]).line(room));
        }
        line.push(".", Paint::Plain);
        page.prose(&line, 4)?;
    }
    for moved in &story.moved_from {
        let line = format!(
            "  Until {} after the start it was at {}-{}.",
            number::duration(moved.until_ns),
            moved.start,
            moved.end
        );
        page.prose(&Line::of(line, Paint::Plain), 4)?;
    }
    if story.earlier_mappings > 0 {
        let many = number::count(story.earlier_mappings, "other mapping was", "others were");
        let line = format!("  {many} at these addresses before; not told here.");
        page.prose(&Line::of(line, Paint::Dim), 4)?;
    }
    Ok(())
}
