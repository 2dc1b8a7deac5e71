//! The code paths of a process over all its segments, what they do not explain, who gave memory
//! back, and what is gone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use crate::report::{Cause, Named, Process, Reason, ReleaseKind, Report, StackId};
use crate::view::chain::{Share, Stacks, base_name};
use crate::view::grid::{Cell, Column, Fluid, Grid, Row};
use crate::view::order::{Keys, Sort};
use crate::view::paint::{Line, Page, Paint};
use crate::view::samples::segment_name;
use crate::view::{number, text};

use super::sums::Sums;

/// Names of mappings that are told of one code path.
const PLACES: usize = 5;
/// Frames under a code path.
const FRAMES: usize = 255;

/// The code paths by bytes; with what is not explained they add up to the totals.
pub fn code_paths(process: &Process, stacks: &Stacks<'_>, page: &mut Page<'_>) -> io::Result<()> {
    page.heading(&format!("Code paths, {} (KiB)", page.style.sort.words(false)))?;
    let mut shares = stacks.merge(process.segments.iter().flat_map(|segment| &segment.paths));
    shares.retain(|share| share.rss + share.dirty > 0);
    put_in_order(&mut shares, stacks, page.style.sort);
    let whole = Sums::of(&process.segments);
    let shown = page.style.top.unwrap_or(usize::MAX).min(shares.len());
    let mut grid = Grid {
        columns: vec![
            Column::figures("RSS", 7),
            Column::figures("Share", 5),
            Column::figures("Dirty", 7),
            Column::figures("Share", 5),
            Column { max: Some(18), ..Column::names("Cause") },
        ],
        tail_head: "Code path",
        rows: Vec::new(),
    };
    for share in &shares[..shown] {
        let tail: Fluid<'_> = Box::new(|room| stacks.chain(&share.stacks).line(room));
        let cause = Cell::Text(text::clean(share.cause.as_str()), Paint::Cause);
        let bytes = (signed(share.rss), signed(share.dirty));
        grid.rows.push(row(&whole, bytes, Paint::Plain, cause, tail));
    }
    let none = Cell::none;
    if shown < shares.len() {
        let left =
            number::count((shares.len() - shown) as u64, "more code path", "more code paths");
        let tail = fixed(format!("{left} (--top 0 shows all)"), Paint::Dim);
        grid.rows.push(row(&whole, sum(&shares[shown..]), Paint::Dim, none(), tail));
    }
    grid.rows.push(Row { cells: vec![Cell::Rule; 4], ..Row::default() });
    let tail = fixed("all of these".into(), Paint::Strong);
    grid.rows.push(row(&whole, sum(&shares), Paint::Strong, none(), tail));

    let reasons = unexplained(process);
    if reasons.is_empty() {
        let tail = fixed("nothing".into(), Paint::Plain);
        let cause = Cell::plain("not explained");
        grid.rows.push(row(&whole, (0, 0), Paint::Plain, cause, tail));
    }
    for &(reason, bytes) in &reasons {
        let cause = Cell::Text("not explained".to_owned(), Paint::Bad);
        let tail = fixed(text::clean(reason.as_str()), Paint::Bad);
        grid.rows.push(row(&whole, bytes, Paint::Bad, cause, tail));
    }
    grid.print(page)?;
    for (reason, _) in reasons {
        if let Some(meaning) = reason.meaning() {
            let name = format!("  {}: ", reason.as_str());
            let line = Line::of(name, Paint::Bad).and(meaning, Paint::Plain);
            page.prose(&line, 4)?;
        }
    }
    if page.style.verbose {
        for share in &shares[..shown] {
            in_full(share, process, stacks, page)?;
        }
    }
    Ok(())
}

fn put_in_order(shares: &mut [Share<'_>], stacks: &Stacks<'_>, sort: Sort) {
    let keys = Keys {
        total: &|s: &Share<'_>| signed(s.rss + s.dirty),
        rss: &|s| signed(s.rss),
        dirty: &|s| signed(s.dirty),
        growth: &|s| signed(s.rss + s.dirty),
        address: None,
        name: &|s| stacks.chain(&s.stacks).text(),
    };
    sort.order(shares, &keys);
}

/// A row of RSS and Dirty with their shares of the whole.
fn row<'a>(
    whole: &Sums,
    (rss, dirty): (i128, i128),
    paint: Paint,
    cause: Cell,
    tail: Fluid<'a>,
) -> Row<'a> {
    Row {
        cells: vec![
            Cell::Text(number::kib_signed(rss), paint),
            Cell::Text(signed_share(rss, whole.rss.after), Paint::Dim),
            Cell::Text(number::kib_signed(dirty), paint),
            Cell::Text(signed_share(dirty, whole.dirty.after), Paint::Dim),
            cause,
        ],
        tail: Some(tail),
        below: None,
    }
}

/// One code path with all its frames, and where its memory is.
fn in_full(
    share: &Share<'_>,
    process: &Process,
    stacks: &Stacks<'_>,
    page: &mut Page<'_>,
) -> io::Result<()> {
    page.gap()?;
    let line = Line::of(text::clean(share.cause.as_str()), Paint::Cause)
        .and(format!(": RSS {} KiB, ", number::kib_signed(signed(share.rss))), Paint::Plain)
        .and(format!("Dirty {} KiB", number::kib_signed(signed(share.dirty))), Paint::Plain)
        .and(format!(", touched {} KiB", number::kib_signed(signed(share.touched))), Paint::Plain)
        .and(format!(" in {}", counted(share.faults, "fault", "faults")), Paint::Plain)
        .and(
            format!(" by {}", counted(share.tids.len() as u128, "thread", "threads")),
            Paint::Plain,
        )
        .and(
            format!(
                ", {} to {} after the start",
                number::duration(share.first_ns),
                number::duration(share.last_ns)
            ),
            Paint::Plain,
        );
    page.prose(&line, 2)?;
    page.prose(&Line::of(format!("  in {}", places(share, process)), Paint::Plain), 4)?;
    for frame in stacks.chain(&share.stacks).frames(FRAMES) {
        let mut line = Line::of("  ", Paint::Plain);
        line.append(frame);
        page.line(&line)?;
    }
    Ok(())
}

/// The names of the mappings in which a code path holds memory, the largest first.
fn places(share: &Share<'_>, process: &Process) -> String {
    let stacks: BTreeSet<Option<StackId>> = share.stacks.iter().copied().collect();
    let mut places: BTreeMap<String, u128> = BTreeMap::new();
    for segment in &process.segments {
        for path in &segment.paths {
            let bytes = u128::from(path.rss_bytes) + u128::from(path.dirty_bytes);
            if bytes > 0 && path.cause == *share.cause && stacks.contains(&path.stack) {
                let name = segment_name(segment);
                // What is in brackets is no path, whatever it holds.
                let short = if name.starts_with('[') { &name } else { base_name(&name) };
                *places.entry(short.to_owned()).or_default() += bytes;
            }
        }
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(_, bytes)| Reverse(*bytes));
    let more = places.len().saturating_sub(PLACES);
    let named: Vec<String> =
        places.into_iter().take(PLACES).map(|(name, _)| text::cut_middle(&name, 60)).collect();
    let mut names = named.join(", ");
    if more > 0 {
        names.push_str(&format!(" and {more} more"));
    }
    names
}

/// What is not explained by reason, the largest first; zeros say nothing and are left out.
fn unexplained(process: &Process) -> Vec<(&Named<Reason>, (i128, i128))> {
    let mut reasons: BTreeMap<&Named<Reason>, (i128, i128)> = BTreeMap::new();
    let mut seen: BTreeSet<&Named<Reason>> = BTreeSet::new();
    for rest in process.segments.iter().flat_map(|segment| &segment.unexplained) {
        let sums = reasons.entry(&rest.reason).or_default();
        sums.0 += i128::from(rest.rss_bytes);
        sums.1 += i128::from(rest.dirty_bytes);
        if rest.rss_bytes != 0 || rest.dirty_bytes != 0 {
            seen.insert(&rest.reason);
        }
    }
    let mut reasons: Vec<_> =
        reasons.into_iter().filter(|(reason, _)| seen.contains(reason)).collect();
    reasons.sort_by_key(|(_, (rss, dirty))| Reverse(rss.unsigned_abs() + dirty.unsigned_abs()));
    reasons
}

/// Who gave memory back; nothing is written where nobody did. What went with the process is told by
/// its segments.
pub fn released(process: &Process, stacks: &Stacks<'_>, page: &mut Page<'_>) -> io::Result<()> {
    let before_exit = process.released.iter().filter(|released| released.how != ReleaseKind::Exit);
    let rows = before_exit.map(|r| Listed {
        bytes: r.rss_bytes.into(),
        why: r.how.as_str(),
        stacks: vec![r.stack],
        mappings: 0,
    });
    let heading = "Gave resident memory back during the session (KiB)";
    list(heading, "RSS", "How", rows, stacks, page)
}

/// What was touched and is no longer there; nothing is written where there is no such thing.
pub fn gone(process: &Process, stacks: &Stacks<'_>, page: &mut Page<'_>) -> io::Result<()> {
    let rows = process.gone.iter().map(|g| Listed {
        bytes: g.touched_bytes.into(),
        why: g.cause.as_str(),
        stacks: vec![g.stack],
        mappings: g.segments.into(),
    });
    let heading = "Gone: touched, and nothing of it is left (KiB)";
    list(heading, "Touched", "Cause", rows, stacks, page)
}

/// A row of the lists of what was released and of what is gone.
struct Listed<'a> {
    bytes: u128,
    why: &'a str,
    stacks: Vec<Option<StackId>>,
    /// In how many mappings, 0 if it is not told.
    mappings: u128,
}

/// Merges rows by why and by code path, and writes the largest.
fn list<'a>(
    heading: &str,
    bytes: &'static str,
    why: &'static str,
    listed: impl Iterator<Item = Listed<'a>>,
    stacks: &Stacks<'_>,
    page: &mut Page<'_>,
) -> io::Result<()> {
    let mut rows: Vec<Listed<'a>> = Vec::new();
    let mut at: HashMap<_, usize> = HashMap::new();
    for row in listed {
        let key = (row.why, stacks.key(row.stacks.first().copied().flatten()));
        let index = *at.entry(key).or_insert(rows.len());
        match rows.get_mut(index) {
            None => rows.push(row),
            Some(same) => {
                same.bytes += row.bytes;
                same.mappings += row.mappings;
                same.stacks.extend(row.stacks);
            }
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by_key(|row| Reverse(row.bytes));
    if page.style.sort == Sort::Name {
        rows.sort_by_cached_key(|row| stacks.chain(&row.stacks).text());
    }
    page.gap()?;
    page.heading(heading)?;
    let shown = page.style.short.unwrap_or(usize::MAX).min(rows.len());
    let mut grid = Grid {
        columns: vec![Column::figures(bytes, 7), Column { max: Some(18), ..Column::names(why) }],
        tail_head: "Code path",
        rows: Vec::new(),
    };
    for row in &rows[..shown] {
        let suffix = if row.mappings > 1 {
            format!("  (in {} mappings)", row.mappings)
        } else {
            String::new()
        };
        grid.rows.push(Row {
            cells: vec![
                Cell::plain(number::kib_signed(signed(row.bytes))),
                Cell::Text(text::clean(row.why), Paint::Cause),
            ],
            tail: Some(Box::new(move |room| {
                let room = room.map(|room| room.saturating_sub(text::width(&suffix)));
                stacks.chain(&row.stacks).line(room).and(suffix.clone(), Paint::Dim)
            })),
            below: None,
        });
    }
    if shown < rows.len() {
        let rest = rows[shown..].iter().map(|row| row.bytes).sum();
        let more = format!("{} more (--top 0 shows all)", rows.len() - shown);
        grid.rows.push(Row {
            cells: vec![Cell::Text(number::kib_signed(signed(rest)), Paint::Dim), Cell::none()],
            tail: Some(fixed(more, Paint::Dim)),
            below: None,
        });
    }
    grid.print(page)
}

/// What the causes that occur mean.
pub fn glossary(report: &Report, page: &mut Page<'_>) -> io::Result<()> {
    let segments = report.processes.iter().flat_map(|process| &process.segments);
    let mut causes: BTreeSet<&Named<Cause>> =
        segments.flat_map(|segment| &segment.paths).map(|path| &path.cause).collect();
    causes.extend(report.processes.iter().flat_map(|p| &p.gone).map(|gone| &gone.cause));
    let known: Vec<_> =
        causes.into_iter().filter_map(|cause| Some((cause.as_str(), cause.meaning()?))).collect();
    if known.is_empty() {
        return Ok(());
    }
    page.gap()?;
    page.heading("What the causes mean")?;
    for (name, meaning) in known {
        let line = Line::of(format!("  {name:<17}"), Paint::Cause).and(meaning, Paint::Plain);
        page.prose(&line, 19)?;
    }
    Ok(())
}

fn fixed<'a>(text: String, paint: Paint) -> Fluid<'a> {
    Box::new(move |_| Line::of(text.clone(), paint))
}

fn counted(many: u128, one: &str, more: &str) -> String {
    number::count(u64::try_from(many).unwrap_or(u64::MAX), one, more)
}

fn sum(shares: &[Share<'_>]) -> (i128, i128) {
    let rss = shares.iter().map(|share| share.rss).sum();
    let dirty = shares.iter().map(|share| share.dirty).sum();
    (signed(rss), signed(dirty))
}

fn signed(bytes: u128) -> i128 {
    i128::try_from(bytes).unwrap_or(i128::MAX)
}

fn signed_share(part: i128, whole: u128) -> String {
    let share = number::share(part.unsigned_abs(), whole);
    if part < 0 && whole > 0 { format!("-{share}") } else { share }
}
