//! The lines above the rows: what is traced, its sizes and their course, what nobody explains.

use crate::insight::Bytes;
use crate::view::number;
use crate::view::text;
use crate::view::unit;

use super::canvas::{Canvas, Ink};
use super::course::{Figure, Point};
use super::digest::TABS;
use super::rows::ORDERS;
use super::state::{Mode, State};

/// Draws the first five lines.
pub(super) fn draw(state: &State, canvas: &mut Canvas<'_>) {
    title(state, canvas);
    let sizes: [(&str, i128, Figure); 2] = [
        ("RSS", state.summary.total.rss, |point: &Point| point.rss),
        ("Dirty", state.summary.total.dirty, |point: &Point| point.dirty),
    ];
    for ((name, bytes, figure), y) in sizes.into_iter().zip(1..) {
        size(state, name, bytes, figure, y, canvas);
    }
    rest(state, canvas);
    if state.overlay.is_none() {
        tabs(state, canvas);
    }
}

/// What is traced, and when this was.
fn title(state: &State, canvas: &mut Canvas<'_>) {
    let right = match state.mode {
        Mode::Live => live(state),
        Mode::File => moment(state),
    };
    let end = canvas.put_right(0, &right, Ink::Plain);
    let name = if state.mode == Mode::Live { "rmap top  " } else { "rmap view  " };
    let x = canvas.put(0, 0, name, Ink::Strong, 11);
    let room = usize::from(end.saturating_sub(x + 1));
    canvas.put(x, 0, &text::cut(&state.summary.what, room), Ink::Plain, canvas.width);
}

fn live(state: &State) -> String {
    let at = number::duration(state.summary.at_ns);
    let cost = state.cost.map(|share| format!("  rmap {}.{} % CPU", share / 10, share % 10));
    let cost = cost.unwrap_or_default();
    match (&state.ended, state.paused) {
        (Some(how), _) => format!("{at}  {how}"),
        (None, true) => format!("{at}  PAUSED{cost}"),
        (None, false) if state.report().is_none() => "starting …".to_owned(),
        (None, false) => format!("{at}{cost}"),
    }
}

fn moment(state: &State) -> String {
    let Some(moment) = state.moments.get(state.moment) else {
        return number::duration(state.summary.at_ns);
    };
    let at = number::duration(moment.at_ns);
    let name = if moment.name.is_empty() {
        String::new()
    } else {
        format!(" {}", text::cut(&text::clean(&moment.name), 24))
    };
    let reading = if state.reading { "reading " } else { "" };
    let whole = state.moments.last().map_or(0, |last| last.at_ns);
    format!("{reading}{at}{name} of {}", number::duration(whole))
}

/// A size, how fast it changes, its course, its most.
fn size(state: &State, name: &str, bytes: i128, figure: Figure, y: u16, canvas: &mut Canvas<'_>) {
    let at_ns = state.summary.at_ns;
    let x = canvas.put(0, y, &format!("{name:<6}"), Ink::Dim, 6);
    let ink = if name == "Dirty" { Ink::Dirty } else { Ink::Strong };
    let x = canvas.put(x, y, &format!("{:>11}", unit::size(bytes)), ink, 11);
    let rate = state.course.rate(at_ns, figure).map(|rate| format!("{}/s", signed(rate)));
    let rate = format!("{:>14} ", rate.unwrap_or_default());
    let x = canvas.put(x, y, &rate, Ink::Plain, 16);
    let most = i128::from(state.course.most(figure)).max(bytes);
    let end = canvas.put_right(y, &format!(" max {}", unit::size(most)), Ink::Dim);
    let room = end.saturating_sub(x + 1);
    let (bars, here) = state.course.bars(room.into(), figure, at_ns);
    let after = canvas.put(x + 1, y, &bars, Ink::Plain, room);
    let here = x + 1 + u16::try_from(here).unwrap_or(0);
    if state.mode == Mode::File && here < after {
        let bar: String = bars.chars().skip(usize::from(here - x - 1)).take(1).collect();
        canvas.put(here, y, &bar, Ink::Here, 1);
    }
}

/// Bytes with their sign.
pub(super) fn signed(bytes: i128) -> String {
    let sign = if bytes > 0 { "+" } else { "" };
    format!("{sign}{}", unit::size(bytes))
}

/// What nobody explains, what was lost, the mark.
fn rest(state: &State, canvas: &mut Canvas<'_>) {
    let summary = &state.summary;
    let mut x = 0;
    let mut put = |canvas: &mut Canvas<'_>, text: &str, ink| {
        x = canvas.put(x, 3, text, ink, canvas.width);
    };
    let bad = |is: bool| if is { Ink::Bad } else { Ink::Plain };
    let Bytes { rss, dirty } = summary.unattributed;
    let unattributed = match (rss, dirty) {
        (0, 0) => "Unattributed 0.".to_owned(),
        (rss, 0) => format!("Unattributed {}.", unit::size(rss)),
        (rss, dirty) => {
            format!("Unattributed {}, dirty {}.", unit::size(rss), unit::size(dirty))
        }
    };
    // A thousandth of all is no reason to look there first.
    let much =
        rss.unsigned_abs().max(dirty.unsigned_abs()) * 1000 > summary.total.rss.unsigned_abs();
    put(canvas, &unattributed, bad(much));
    if summary.before.rss > 0 {
        let before = format!(" Before attach {}.", unit::size(summary.before.rss));
        put(canvas, &before, Ink::Plain);
    }
    let [events, stacks, snapshots] = summary.lost;
    let lost = match summary.lost {
        [0, 0, 0] => " Lost 0.".to_owned(),
        _ => format!(" Lost {events} events, {stacks} stacks, {snapshots} snapshots."),
    };
    put(canvas, &lost, bad(summary.lost != [0; 3]));
    let [all, ended] = summary.processes;
    let many = number::count(u64::try_from(all).unwrap_or(0), "process", "processes");
    let ended = if ended > 0 { format!(", {ended} ended") } else { String::new() };
    put(canvas, &format!(" {many}{ended}."), Ink::Plain);
    if summary.swap > 0 {
        put(canvas, &format!(" Swap {}.", unit::size(summary.swap.into())), Ink::Plain);
    }
    if let Some(base) = &state.base {
        let came = summary.total - base.total;
        let since = format!(
            " Since {}: RSS {}, Dirty {}.",
            number::duration(base.at_ns),
            signed(came.rss),
            signed(came.dirty)
        );
        put(canvas, &since, Ink::Strong);
    }
    if let [first, ..] = &summary.troubles[..] {
        put(canvas, &format!(" {first}"), Ink::Bad);
    }
}

/// Which rows, in which order.
fn tabs(state: &State, canvas: &mut Canvas<'_>) {
    let mut x = 0;
    for ((tab, name), number) in TABS.into_iter().zip(1..) {
        let ink = if tab == state.tab { Ink::Here } else { Ink::Plain };
        x = canvas.put(x, 4, &format!(" {number} {name} "), ink, canvas.width);
    }
    let order = ORDERS.iter().find(|(order, _)| *order == state.view.order);
    let order = order.map_or("", |(_, name)| name);
    let up = if state.view.inverted { " reversed" } else { "" };
    x = canvas.put(x, 4, &format!("  by {order}{up}"), Ink::Dim, canvas.width);
    if !state.filter.is_empty() {
        let filter = format!("  /{}", text::clean(&state.filter));
        canvas.put(x, 4, &filter, Ink::Strong, canvas.width);
    }
}
