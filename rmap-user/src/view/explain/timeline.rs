//! What happened, in time: happenings and snapshots, summed up to the rows that are asked for.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;

use crate::report::StackId;
use crate::report::story::{Happening, State, Story};
use crate::view::chain::{Key, Stacks};
use crate::view::grid::{Cell, Column, Fluid, Grid, Row};
use crate::view::number;
use crate::view::paint::{Line, Page, Paint};
use crate::view::text;

/// Narrower than this, code paths stand on a line of their own.
const WIDE: usize = 110;

/// Happenings of one kind by one code path within some time.
struct Told<'a> {
    first: &'a Happening,
    stacks: Vec<Option<StackId>>,
    /// How large each of these was.
    sizes: Vec<u64>,
    first_ns: u64,
    last_ns: u64,
    times: u64,
    rss: i128,
    dirty: i128,
    mapped: i128,
}

/// Writes the rows in the order of time.
pub fn write(story: &Story, stacks: &Stacks<'_>, page: &mut Page<'_>) -> io::Result<()> {
    page.heading("What happened, in time (KiB)")?;
    let rows = page.style.top.unwrap_or(usize::MAX);
    let told = summed(story, stacks, rows);
    let wide = page.style.width.is_none_or(|width| width >= WIDE);
    let mut grid = Grid {
        columns: vec![
            Column { right: false, ..Column::figures("After the start", 15) },
            Column::figures("ΔMapped", 8),
            Column::figures("ΔRSS", 8),
            Column::figures("ΔDirty", 8),
            Column { max: Some(34), ..Column::names("What") },
        ],
        tail_head: if wide { "Code path" } else { "" },
        rows: Vec::new(),
    };
    let mut states = states(story, rows).into_iter().peekable();
    for told in &told {
        while let Some(state) = states.next_if(|state| state.at_ns < told.first_ns) {
            grid.rows.push(state_row(state, wide));
        }
        let no_code = told.stacks.iter().all(Option::is_none);
        let chain: Option<Fluid<'_>> =
            if no_code { None } else { Some(Box::new(|room| path(told, stacks, room))) };
        let (tail, below) = if wide { (chain, None) } else { (None, chain) };
        grid.rows.push(Row {
            cells: vec![
                Cell::plain(when(told.first_ns, told.last_ns)),
                Cell::plain(change(told.mapped)),
                Cell::plain(change(told.rss)),
                Cell::plain(change(told.dirty)),
                Cell::Text(what(told), Paint::Cause),
            ],
            tail,
            below,
        });
    }
    states.for_each(|state| grid.rows.push(state_row(state, wide)));
    let sum = |of: fn(&Told<'_>) -> i128| told.iter().map(of).sum::<i128>();
    grid.rows.push(Row { cells: vec![Cell::Rule; 4], ..Row::default() });
    grid.rows.push(Row {
        cells: vec![
            Cell::plain("in all"),
            Cell::plain(number::kib_signed(sum(|t| t.mapped))),
            Cell::plain(number::kib_signed(sum(|t| t.rss))),
            Cell::plain(number::kib_signed(sum(|t| t.dirty))),
        ],
        ..Row::default()
    });
    grid.print(page)?;
    if story.since != crate::report::story::Amount::default() {
        let line = format!(
            "  Of this, RSS {} KiB and Dirty {} KiB came after the last snapshot.",
            number::kib_signed(story.since.rss_bytes.into()),
            number::kib_signed(story.since.dirty_bytes.into())
        );
        page.prose(&Line::of(line, Paint::Dim), 4)?;
    }
    Ok(())
}

/// Sums happenings up until there are no more than so many rows: those of one code path first, as
/// long as their order in time can be seen, then those of one kind.
fn summed<'a>(story: &'a Story, stacks: &Stacks<'_>, rows: usize) -> Vec<Told<'a>> {
    let times = story.events.iter().map(|event| event.first_ns);
    let span = times.clone().max().unwrap_or(0) - times.min().unwrap_or(0);
    for (by_path, longest) in [(true, span / 8), (false, u64::MAX / 2)] {
        let mut slot = 1_u64;
        loop {
            let told = in_slots(&story.events, stacks, slot, by_path);
            let told = joined(told, story, stacks, by_path);
            if told.len() <= rows || (!by_path && slot > longest / 2) {
                return told;
            }
            if slot > longest / 2 {
                break;
            }
            slot *= 2;
        }
    }
    Vec::new()
}

fn key_of(stacks: &Stacks<'_>, stack: Option<StackId>, by_path: bool) -> Option<Key> {
    by_path.then(|| stacks.key(stack))
}

fn in_slots<'a>(
    events: &'a [Happening],
    stacks: &Stacks<'_>,
    slot: u64,
    by_path: bool,
) -> Vec<Told<'a>> {
    let mut at: HashMap<(u64, &str, &str, Option<Key>), usize> = HashMap::new();
    let mut all: Vec<Told<'a>> = Vec::new();
    for event in events {
        let key = key_of(stacks, event.stack, by_path);
        let key = (event.first_ns / slot, &*event.what, &*event.name, key);
        let next = all.len();
        let index = *at.entry(key).or_insert(next);
        if index == next {
            all.push(Told {
                first: event,
                stacks: Vec::new(),
                sizes: Vec::new(),
                first_ns: event.first_ns,
                last_ns: event.last_ns,
                times: 0,
                rss: 0,
                dirty: 0,
                mapped: 0,
            });
        }
        let told = &mut all[index];
        told.stacks.push(event.stack);
        told.sizes.push(size(event));
        told.first_ns = told.first_ns.min(event.first_ns);
        told.last_ns = told.last_ns.max(event.last_ns);
        told.times = told.times.saturating_add(event.times);
        told.rss += i128::from(event.rss_bytes);
        told.dirty += i128::from(event.dirty_bytes);
        told.mapped += i128::from(event.mapped_bytes);
    }
    all.sort_by_key(|told| told.first_ns);
    all
}

/// What follows each other in time and is of one kind is one row, unless a snapshot lies between.
fn joined<'a>(
    told: Vec<Told<'a>>,
    story: &Story,
    stacks: &Stacks<'_>,
    by_path: bool,
) -> Vec<Told<'a>> {
    let mut joined: Vec<Told<'a>> = Vec::new();
    let key = |told: &Told<'a>| {
        let stack = told.stacks.first().copied().flatten();
        (&*told.first.what, &*told.first.name, key_of(stacks, stack, by_path))
    };
    for next in told {
        let Some(last) = joined.last_mut().filter(|last| key(last) == key(&next)) else {
            joined.push(next);
            continue;
        };
        let between = last.first_ns..next.first_ns;
        if story.states.iter().any(|state| between.contains(&state.at_ns)) {
            joined.push(next);
            continue;
        }
        last.stacks.extend(next.stacks);
        last.sizes.extend(next.sizes);
        last.last_ns = last.last_ns.max(next.last_ns);
        last.times = last.times.saturating_add(next.times);
        last.rss += next.rss;
        last.dirty += next.dirty;
        last.mapped += next.mapped;
    }
    joined
}

/// The last state, and of those before it as many as rows, evenly.
fn states(story: &Story, rows: usize) -> Vec<&State> {
    let all = &story.states;
    let step = all.len().div_ceil(rows.max(1)).max(1);
    let last = all.len().saturating_sub(1);
    all.iter()
        .enumerate()
        .filter(|(at, _)| (last - at).is_multiple_of(step))
        .map(|(_, s)| s)
        .collect()
}

fn state_row(state: &State, wide: bool) -> Row<'static> {
    let is = |bytes: u64| Cell::Text(format!("={}", number::kib(bytes)), Paint::Strong);
    let rest = |whole: u64, part: i64| i128::from(whole) - i128::from(part);
    let (rss, dirty) = (
        rest(state.rss_bytes, state.explained.rss_bytes),
        rest(state.dirty_bytes, state.explained.dirty_bytes),
    );
    let rest: Option<Fluid<'static>> = ((rss, dirty) != (0, 0)).then(|| {
        let text = format!(
            "not explained: RSS {}, Dirty {}",
            number::kib_signed(rss),
            number::kib_signed(dirty)
        );
        Box::new(move |_| Line::of(text.clone(), Paint::Bad)) as Fluid<'static>
    });
    let (tail, below) = if wide { (rest, None) } else { (None, rest) };
    Row {
        cells: vec![
            Cell::plain(number::duration(state.at_ns)),
            is(state.size_bytes),
            is(state.rss_bytes),
            is(state.dirty_bytes),
            Cell::plain("snapshot"),
        ],
        tail,
        below,
    }
}

fn when(first: u64, last: u64) -> String {
    let (first, last) = (number::duration(first), number::duration(last));
    if first == last { first } else { format!("{first}–{last}") }
}

const fn size(event: &Happening) -> u64 {
    event.rss_bytes.unsigned_abs()
        + event.dirty_bytes.unsigned_abs()
        + event.mapped_bytes.unsigned_abs()
}

/// The largest code path, and how many more there are.
fn path(told: &Told<'_>, stacks: &Stacks<'_>, room: Option<usize>) -> Line {
    let mut sizes: HashMap<Key, (u64, Vec<Option<StackId>>)> = HashMap::new();
    for (stack, size) in told.stacks.iter().zip(&told.sizes) {
        let path = sizes.entry(stacks.key(*stack)).or_default();
        path.0 = path.0.saturating_add(*size);
        path.1.push(*stack);
    }
    let more = sizes.len().saturating_sub(1);
    let largest =
        sizes.into_values().max_by_key(|(size, path)| (*size, Reverse(path.first().copied())));
    let suffix = if more > 0 { format!("  (+{more} more)") } else { String::new() };
    let room = room.map(|room| room.saturating_sub(text::width(&suffix)));
    let chain = largest.map_or_else(Line::new, |(_, path)| stacks.chain(&path).line(room));
    chain.and(suffix, Paint::Dim)
}

/// With its sign, nothing for none.
fn change(bytes: i128) -> String {
    match bytes {
        0 => String::new(),
        1.. => format!("+{}", number::kib_signed(bytes)),
        _ => number::kib_signed(bytes),
    }
}

/// In words.
fn what(told: &Told<'_>) -> String {
    let name = text::clean(&told.first.name);
    let words = match told.first.what.as_str() {
        "map" if name == "unknown" => "was there before".to_owned(),
        "map" => format!("mapped by {name}"),
        "grow" => format!("grown by {name}"),
        "unmap" => format!("unmapped by {name}"),
        "protect" => format!("protected {name}"),
        "fork" => "the process forked".to_owned(),
        "fault" => name,
        "found" => format!("{name}, seen"),
        "free" if name == "not-seen" => "gone, not seen how".to_owned(),
        "free" => format!("freed by {name}"),
        "clean" => format!("cleaned by {name}"),
        "move" => format!("moved by {name}"),
        "missing" => "gone or clean, no event".to_owned(),
        other => format!("{} {name}", text::clean(other)),
    };
    if told.times > 1 { format!("{words} ×{}", told.times) } else { words }
}
