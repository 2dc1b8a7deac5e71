//! What an allocator holds, as a table.
//!
//! Comes in: the document of `rmap heap`. Goes out: one sentence that says how much is free and what
//! would come back, then a row for each segment.

use std::io;

use crate::report::heap::{HeapBytes, HeapReport, HeapSegment, HeapState};

use super::paint::{Line, Page, Paint};
use super::unit::{Unit, size};
use super::{Style, number, text};

/// Writes the table.
///
/// # Errors
/// The writer's.
pub fn write(report: &HeapReport, style: Style, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = Page::new(out, style);
    let command = text::clean(&report.command);
    let stood = number::duration(report.stopped_ns);
    let stops = number::count(report.stops.into(), "stop", "stops");
    let head = format!("Process {}  {command}", report.pid);
    page.line(
        &Line::of(head, Paint::Strong).and(format!("  stood {stood} in {stops}"), Paint::Dim),
    )?;
    let sums = report.segments.iter().filter_map(|segment| Some((segment, segment.heap.sums?)));
    let mut total = Total::default();
    for (segment, sums) in sums {
        total.resident += segment.heap.resident_bytes;
        total.sums.add(&sums);
    }
    if report.segments.is_empty() {
        let none = "No memory of glibc's malloc was found in it.";
        page.line(&Line::of(none, Paint::Plain))?;
    } else {
        page.prose(&total.sentence(report), 2)?;
        rows(report, &total, &mut page)?;
    }
    for other in &report.others {
        let module = text::clean(&other.module);
        let line = format!(
            "{} is loaded ({module}): its memory is not walked. Ask it: {}.",
            text::clean(&other.allocator),
            text::clean(&other.ask)
        );
        page.prose(&Line::of(line, Paint::Plain), 2)?;
    }
    Ok(())
}

/// Writes the document as indented JSON with a line end behind it.
///
/// # Errors
/// The writer's.
pub fn write_json(report: &HeapReport, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// The sums over the segments.
#[derive(Default)]
struct Total {
    resident: u64,
    sums: HeapBytes,
}

impl Total {
    fn sentence(&self, report: &HeapReport) -> Line {
        let free = size(self.sums.free_resident().into());
        let resident = size(self.resident.into());
        let mut line =
            Line::of(format!("{free} of {resident} resident in its heaps is free."), Paint::Strong);
        match report.trim_would_return_bytes {
            Some(bytes) => {
                let returned = size(bytes.into());
                let within = size(self.sums.free_within_bytes.into());
                line.push(
                    format!(
                        " malloc_trim(0) would return {returned}; {within} is free within pages \
                         that would stay."
                    ),
                    Paint::Plain,
                );
            }
            None => line.push(" What malloc_trim(0) would return cannot be said.", Paint::Bad),
        }
        line
    }
}

const HEADS: [&str; 8] =
    ["Resident", "Live", "Cached", "In bins", "Top", "Whole", "Within", "Chunks"];

fn rows(report: &HeapReport, total: &Total, page: &mut Page<'_>) -> io::Result<()> {
    let unit = Unit::of(total.resident.into());
    page.heading(&format!("By segment ({})", unit.name()))?;
    let heads: String = HEADS.iter().map(|head| format!(" {head:>9}")).collect();
    page.line(&Line::of(format!("Arena{heads}  Segment"), Paint::Dim))?;
    for segment in &report.segments {
        page.line(&row(segment, unit))?;
    }
    if report.segments.len() > 1 {
        let figures = figures(total.resident, &total.sums, unit);
        page.line(&Line::of(format!("     {figures}  total"), Paint::Strong))?;
    }
    let legend = "Cached: kept by threads, and in fastbins. Whole: resident pages that \
                  malloc_trim(0) would return. Within: free bytes in resident pages that stay.";
    page.prose(&Line::of(legend, Paint::Dim), 2)
}

fn figures(resident: u64, sums: &HeapBytes, unit: Unit) -> String {
    let cached = sums.thread_cache_bytes.saturating_add(sums.fastbin_bytes);
    let bytes = [
        resident,
        sums.live_bytes,
        cached,
        sums.free_bytes,
        sums.top_bytes,
        sums.whole_free_resident_bytes,
        sums.free_within_bytes,
    ];
    let figures = bytes.map(|bytes| format!(" {:>9}", unit.figure(bytes.into())));
    format!("{} {:>9}", figures.concat(), sums.chunks)
}

fn row(segment: &HeapSegment, unit: Unit) -> Line {
    let heap = &segment.heap;
    let arena = heap.arena.map_or_else(|| "-".to_owned(), |arena| arena.to_string());
    let name = if segment.name.is_empty() { "[anon]" } else { &segment.name };
    let name = text::clean(name);
    let place = format!("  {name} {}", segment.start);
    let Some(sums) = &heap.sums else {
        let at = heap.stopped_at.map(|at| format!(" at {at}")).unwrap_or_default();
        return Line::of(
            format!("{arena:>5} no sums: heap-inconsistent, a header is impossible{at}{place}"),
            Paint::Bad,
        );
    };
    let mut line = Line::of(format!("{arena:>5}"), Paint::Plain)
        .and(figures(heap.resident_bytes, sums, unit), Paint::Plain)
        .and(place, Paint::Plain);
    let why = match heap.state {
        HeapState::Consistent => return line,
        HeapState::InFlight => {
            "in-flight: stopped inside malloc, one chunk a thread may be missing"
        }
        HeapState::PartlyWalked => "partly-walked: at least this",
        HeapState::Changing => "heap-changing: lists and chunks disagree",
        HeapState::Inconsistent => "heap-inconsistent",
    };
    line.push(format!("  {why}"), Paint::Bad);
    line
}
