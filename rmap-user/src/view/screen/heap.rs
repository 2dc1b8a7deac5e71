//! Lines about memory that an allocator hands out.
//!
//! Comes in: what the heaps hold, or that they were not read. Goes out: what is free and who touched
//! those pages first; or what the rows say of such memory.

use std::io;

use crate::insight::heap::Held;
use crate::report::heap::HeapState;
use crate::view::paint::{Line, Page, Paint};
use crate::view::{number, text};

use crate::view::unit::size;

/// Owners that are named.
const TOUCHERS: usize = 3;

/// Says that the rows name who came first, and what says more.
pub(super) fn handed_on(bytes: i128, sampled: bool, page: &mut Page<'_>) -> io::Result<()> {
    let who = if sampled {
        "Who holds it now stands below."
    } else {
        "--heap shows what is live, --malloc who holds it."
    };
    let line = format!(
        "{} is allocators' memory, first touched by its rows' owners: free and malloc hand pages on. \
         {who}",
        size(bytes)
    );
    page.prose(&Line::of(line, Paint::Plain), 2)
}

/// What the heaps hold at the end.
pub(super) fn held(held: &Held, page: &mut Page<'_>) -> io::Result<()> {
    let trouble = match held.state {
        HeapState::Consistent | HeapState::InFlight => None,
        HeapState::PartlyWalked => Some("a heap was walked in part (partly-walked)"),
        HeapState::Changing => Some("lists and chunks of a heap disagree (heap-changing)"),
        HeapState::Inconsistent => Some("a heap is corrupt (heap-inconsistent)"),
    };
    let (free, resident) = (size(held.free.into()), size(held.resident.into()));
    let mut line = Line::of("Heaps at the end: ", Paint::Plain)
        .and(format!("{free} of {resident} resident is free"), Paint::Strong);
    match (held.trim, trouble) {
        (Some(trim), _) => {
            let (trim, within) = (size(trim.into()), size(held.within.into()));
            let rest = format!(
                "; malloc_trim(0) would return {trim}; {within} is within pages that stay."
            );
            line.push(rest, Paint::Plain);
        }
        (None, Some(trouble)) => line.push(format!("; {trouble}: see docs/heap.md."), Paint::Bad),
        (None, None) => line.push(".", Paint::Plain),
    }
    page.prose(&line, 2)?;
    let named: Vec<String> = held
        .touchers
        .iter()
        .take(TOUCHERS)
        .map(|toucher| {
            let share = number::share(toucher.free.into(), held.free.into());
            format!(
                "{} (free {} of {}, {share})",
                text::clean(&toucher.name),
                size(toucher.free.into()),
                size(toucher.resident.into())
            )
        })
        .collect();
    if named.is_empty() {
        return Ok(());
    }
    let line = format!("Free pages were first touched by {}.", named.join(", "));
    page.prose(&Line::of(line, Paint::Plain), 2)
}
