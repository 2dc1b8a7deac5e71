//! What is shown, and what a key or a report changes in it.
//!
//! Comes in: [`Update`]s from whoever has the reports, keys. Goes out: an [`Ask`] where a key needs
//! something that is not here. Pure: no terminal, no clock, no file.

use std::sync::Arc;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use regex_lite::{Regex, RegexBuilder};

use crate::insight::{Bytes, Rules};
use crate::report::Report;
use crate::view::text;

use super::course::{Course, Point};
use super::digest::{Digest, Row, Summary, TABS, Tab};
use super::keys::{Act, act, help};
use super::rows::{Line, ORDERS, Order, View, by_path, visible};

/// Lines above and below the rows.
pub const FRAME: u16 = 8;
/// A filter has so many characters at most.
const FILTER_MAX: usize = 200;
/// Bytes that a compiled filter takes at most.
const FILTER_SIZE: usize = 1 << 20;

/// Where reports come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A session that goes on.
    Live,
    /// A file.
    File,
}

/// Something new.
#[derive(Clone, Debug)]
pub enum Update {
    /// A report. Its stacks are merged and its segments are named.
    Report(Arc<Report>),
    /// The moments of a session that is over, the one that is shown, and the sizes in time.
    Moments(Vec<Moment>, usize, Course),
    /// What was asked for cannot be had, in one line.
    Failed(String),
    /// What was asked for was done, in one line.
    Done(String),
    /// Text to be read, line by line, under a title.
    Text(String, Vec<String>),
    /// The session is over, in one line.
    Ended(String),
    /// There is no more to be shown.
    Quit,
    /// What share of a processor rmap itself takes, in thousandths.
    Cost(u32),
    /// The last line of what the command has written.
    Output(String),
}

/// A moment of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// After its start, ns.
    pub at_ns: u64,
    /// What it is called; empty for one that has no name.
    pub name: String,
}

/// What a key asks for that is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The end.
    Quit,
    /// The report of a moment, by its number.
    Moment(usize),
    /// This moment is to have a name in the session.
    Mark(String),
    /// The page of what is shown.
    Write,
    /// The history of a segment.
    Explain {
        /// Whose it is.
        pid: u32,
        /// First byte.
        start: u64,
        /// First byte behind it.
        end: u64,
    },
}

/// From where on growth is counted.
#[derive(Debug)]
pub(super) struct Base {
    report: Arc<Report>,
    /// When, ns.
    pub(super) at_ns: u64,
    /// RSS and Dirty then.
    pub(super) total: Bytes,
    /// Its rows on a tab, that which was shown last.
    rows: Option<(Tab, Vec<Row>)>,
}

/// Lines over the picture.
#[derive(Debug)]
pub(super) struct Overlay {
    pub(super) title: String,
    pub(super) lines: Vec<String>,
    pub(super) top: usize,
}

/// What is shown.
#[derive(Debug)]
pub struct State {
    pub(super) mode: Mode,
    pub(super) colour: bool,
    pub(super) size: (u16, u16),
    pub(super) tab: Tab,
    pub(super) view: View,
    /// The filter as it was typed; `Some` in `typing` while it is.
    pub(super) filter: String,
    pub(super) typing: Option<String>,
    pub(super) report: Option<Arc<Report>>,
    /// What came while the picture was stopped.
    waiting: Option<Arc<Report>>,
    pub(super) paused: bool,
    pub(super) summary: Summary,
    rows: Vec<Row>,
    pub(super) base: Option<Base>,
    marks: usize,
    pub(super) course: Course,
    pub(super) moments: Vec<Moment>,
    /// The moment that was asked for.
    pub(super) moment: usize,
    /// Its report has not come yet.
    pub(super) reading: bool,
    cursor: usize,
    /// The row under the cursor, wherever it moves.
    chosen: Option<String>,
    top: usize,
    pub(super) message: Option<(String, bool)>,
    pub(super) ended: Option<String>,
    pub(super) cost: Option<u32>,
    pub(super) output: String,
    pub(super) overlay: Option<Overlay>,
    over: bool,
    rules: Rules,
}

impl State {
    /// Nothing is there yet.
    #[must_use]
    pub fn new(mode: Mode, colour: bool, rules: Rules) -> Self {
        Self {
            mode,
            colour,
            size: (80, 24),
            tab: Tab::Owners,
            view: View::default(),
            filter: String::new(),
            typing: None,
            report: None,
            waiting: None,
            paused: false,
            summary: Summary::default(),
            rows: Vec::new(),
            base: None,
            marks: 0,
            course: Course::default(),
            moments: Vec::new(),
            moment: 0,
            reading: false,
            cursor: 0,
            chosen: None,
            top: 0,
            message: None,
            ended: None,
            cost: None,
            output: String::new(),
            overlay: None,
            over: false,
            rules,
        }
    }

    /// Whether it was said that there is no more to be shown.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// The report that is shown.
    #[must_use]
    pub const fn report(&self) -> Option<&Arc<Report>> {
        self.report.as_ref()
    }

    /// The terminal has so many columns and rows.
    pub const fn resize(&mut self, columns: u16, rows: u16) {
        self.size = (columns, rows);
    }

    /// Something new has come.
    pub fn take(&mut self, update: Update) {
        match update {
            Update::Report(report) => self.take_report(report),
            Update::Moments(moments, shown, course) => {
                (self.moments, self.moment, self.course) = (moments, shown, course);
            }
            Update::Failed(why) => {
                self.reading = false;
                self.message = Some((text::clean(&why), true));
            }
            Update::Done(what) => self.message = Some((text::clean(&what), false)),
            Update::Text(title, lines) => {
                let lines = lines.iter().map(|line| text::clean(line)).collect();
                self.overlay = Some(Overlay { title: text::clean(&title), lines, top: 0 });
                self.message = None;
            }
            Update::Ended(how) => self.ended = Some(text::clean(&how)),
            Update::Quit => self.over = true,
            Update::Cost(share) => self.cost = Some(share),
            Update::Output(line) => self.output = text::clean(&line),
        }
    }

    fn take_report(&mut self, report: Arc<Report>) {
        if self.mode == Mode::Live {
            let sizes = |of: fn(&crate::report::Process) -> u64| -> u64 {
                let living = report.processes.iter().filter(|process| process.ended_ns.is_none());
                living.map(of).fold(0, u64::saturating_add)
            };
            // Where all have ended the figures are those of their ends, and nothing moves any more.
            if report.processes.iter().any(|process| process.ended_ns.is_none()) {
                self.course.push(Point {
                    at_ns: report.session.at_ns.unwrap_or(report.session.duration_ns),
                    rss: sizes(|process| process.rss_bytes.after),
                    dirty: sizes(|process| process.dirty_bytes.after),
                });
            }
        }
        if self.paused && self.report.is_some() {
            self.waiting = Some(report);
            return;
        }
        self.reading = false;
        self.report = Some(report);
        self.digest();
    }

    /// Makes the rows anew: the report, the tab or the mark is another one.
    fn digest(&mut self) {
        let Some(report) = &self.report else { return };
        let (tab, view) = (self.tab, &self.view);
        let wants = |key: &str| view.wants(key);
        let Digest { summary, mut rows } = Digest::of(report, &self.rules, tab, &wants);
        (self.view.base, self.view.open_from) = (None, None);
        if self.tab == Tab::Tree {
            self.view.open_from = Some(summary.total.rss.unsigned_abs() / 10 + 1);
        }
        if let Some(base) = &mut self.base {
            let known = base.rows.take().filter(|(of, _)| *of == tab).map(|(_, rows)| rows);
            let all = || Digest::of(&base.report, &self.rules, tab, &|_| true).rows;
            let old = known.unwrap_or_else(all);
            self.view.base = Some(by_path(&old));
            // What nothing is left of has gone since.
            let gone = old.iter().filter(|old| rows.iter().all(|row| row.key != old.key));
            let gone: Vec<Row> = gone
                .map(|old| Row {
                    bytes: Bytes::default(),
                    children: Vec::new(),
                    more: false,
                    ..old.clone()
                })
                .collect();
            rows.extend(gone);
            base.rows = Some((tab, old));
        }
        (self.summary, self.rows) = (summary, rows);
    }

    /// The visible lines, the place of the one under the cursor, and of the first one shown.
    pub(super) fn lines(&self) -> (Vec<Line<'_>>, usize, usize) {
        let lines = visible(&self.rows, &self.view);
        let room = self.room();
        let found =
            self.chosen.as_ref().and_then(|path| lines.iter().position(|line| line.path == *path));
        let last = lines.len().saturating_sub(1);
        let cursor = found.unwrap_or(self.cursor).min(last);
        let most = lines.len().saturating_sub(room);
        let top = self.top.clamp(cursor.saturating_sub(room.saturating_sub(1)), cursor).min(most);
        (lines, cursor, top)
    }

    /// Rows of the table that fit.
    pub(super) fn room(&self) -> usize {
        usize::from(self.size.1.saturating_sub(FRAME)).max(1)
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent) -> Option<Ask> {
        if self.typing.is_some() {
            return self.type_in(key);
        }
        let act = act(key)?;
        // As in less, q closes what lies over the picture first.
        let closes = self.overlay.is_some() && key.modifiers.is_empty();
        if act == Act::Quit && !closes {
            return Some(Ask::Quit);
        }
        if self.overlay.is_some() {
            self.scroll(act);
            return None;
        }
        self.message = None;
        self.act(act)
    }

    fn act(&mut self, act: Act) -> Option<Ask> {
        match act {
            Act::Quit => return Some(Ask::Quit),
            Act::Escape => self.set_filter(""),
            Act::Help => {
                let lines = help(self.mode == Mode::Live);
                let lines = lines.iter().map(|(keys, what)| format!("{keys:<14} {what}")).collect();
                self.overlay = Some(Overlay { title: "Keys".to_owned(), lines, top: 0 });
            }
            Act::Tab(tab) => self.turn_to(tab),
            Act::Turn(on) => {
                let at = TABS.iter().position(|(tab, _)| *tab == self.tab).unwrap_or(0);
                let step = if on { 1 } else { TABS.len() - 1 };
                self.turn_to(TABS[(at + step) % TABS.len()].0);
            }
            Act::Move(by) => self.move_by(by),
            Act::Page(pages) => {
                let page = isize::try_from(self.room().saturating_sub(1).max(1)).unwrap_or(1);
                self.move_by(pages * page);
            }
            Act::First => self.move_by(isize::MIN / 2),
            Act::Last => self.move_by(isize::MAX / 2),
            Act::Toggle => self.fold(None),
            Act::Fold(open) => self.fold(Some(open)),
            Act::FoldAll => {
                self.view.folds.clear();
                self.view.all = if self.view.all == Some(true) { Some(false) } else { Some(true) };
                self.digest();
            }
            Act::Right | Act::Left if self.mode == Mode::Live => {
                self.fold(Some(act == Act::Right));
            }
            Act::Right => return self.step(1),
            Act::Left => return self.step(-1),
            Act::Moments(by) => return self.step(by),
            Act::Named(on) => return self.step_to_name(on),
            Act::Sort(on) => self.sort(on),
            Act::Invert => self.view.inverted = !self.view.inverted,
            Act::Filter => self.typing = Some(self.filter.clone()),
            Act::Mark => return self.mark(),
            Act::Unmark => self.unmark(),
            Act::Pause => self.pause(),
            Act::Explain => return self.explain(),
            Act::Write => return self.report.is_some().then_some(Ask::Write),
        }
        None
    }

    fn turn_to(&mut self, tab: Tab) {
        if self.tab != tab {
            self.tab = tab;
            (self.cursor, self.top, self.chosen, self.view.all) = (0, 0, None, None);
            self.digest();
        }
    }

    fn move_by(&mut self, by: isize) {
        let (lines, cursor, top) = self.lines();
        let last = lines.len().saturating_sub(1);
        let to = cursor.saturating_add_signed(by).min(last);
        let chosen = lines.get(to).map(|line| line.path.clone());
        let room = self.room();
        let top = top.clamp(to.saturating_sub(room.saturating_sub(1)), to);
        // At the first row the picture stays there, whatever becomes the largest.
        self.chosen = if to == 0 { None } else { chosen };
        (self.cursor, self.top) = (to, top);
    }

    /// Unfolds or folds the row under the cursor; `None`: what it is not.
    fn fold(&mut self, open: Option<bool>) {
        let (lines, cursor, _) = self.lines();
        let Some(line) = lines.get(cursor) else { return };
        let want = open.unwrap_or(line.open == Some(false));
        let (path, depth) = (line.path.clone(), line.depth);
        match line.open {
            Some(is) if is != want => {
                self.view.folds.insert(path, want);
                self.digest();
            }
            // Folding what is folded goes to the row that it is in.
            _ if !want && depth > 0 => {
                let above = lines.iter().take(cursor).rposition(|line| line.depth < depth);
                let above = above.and_then(|at| Some((at, lines.get(at)?.path.clone())));
                if let Some((at, path)) = above {
                    (self.cursor, self.chosen) = (at, Some(path));
                }
            }
            _ => {}
        }
    }

    fn sort(&mut self, on: bool) {
        let at = ORDERS.iter().position(|(order, _)| *order == self.view.order).unwrap_or(0);
        let step = if on { 1 } else { ORDERS.len() - 1 };
        self.view.order = ORDERS[(at + step) % ORDERS.len()].0;
        if self.view.order == Order::Since && self.base.is_none() {
            return self.sort(on);
        }
        self.view.inverted = false;
    }

    /// From here on.
    fn mark(&mut self) -> Option<Ask> {
        let report = Arc::clone(self.report.as_ref()?);
        let (at_ns, total) = (self.summary.at_ns, self.summary.total);
        self.base = Some(Base { report, at_ns, total, rows: None });
        self.view.order = Order::Since;
        self.digest();
        if self.mode == Mode::File {
            return None;
        }
        self.marks += 1;
        Some(Ask::Mark(format!("top-{}", self.marks)))
    }

    fn unmark(&mut self) {
        self.base = None;
        if self.view.order == Order::Since {
            self.view.order = Order::Rss;
        }
        self.digest();
    }

    fn pause(&mut self) {
        self.paused = self.mode == Mode::Live && !self.paused;
        if let Some(report) = self.waiting.take() {
            self.report = Some(report);
            self.digest();
        }
    }

    fn step(&mut self, by: isize) -> Option<Ask> {
        let last = self.moments.len().checked_sub(1)?;
        let to = self.moment.saturating_add_signed(by).min(last);
        self.go_to(to)
    }

    fn step_to_name(&mut self, on: bool) -> Option<Ask> {
        let has_name = |at: &usize| self.moments.get(*at).is_some_and(|m| !m.name.is_empty());
        let to = if on {
            (self.moment + 1..self.moments.len()).find(has_name)?
        } else {
            (0..self.moment).rev().find(has_name)?
        };
        self.go_to(to)
    }

    fn go_to(&mut self, to: usize) -> Option<Ask> {
        if to == self.moment && !self.reading {
            return None;
        }
        (self.moment, self.reading) = (to, true);
        Some(Ask::Moment(to))
    }

    fn explain(&mut self) -> Option<Ask> {
        if self.mode == Mode::Live {
            let why = "a history needs a recording: --record FILE, then rmap view FILE";
            self.message = Some((why.to_owned(), true));
            return None;
        }
        let (lines, cursor, _) = self.lines();
        let line = lines.get(cursor)?;
        // A row that is in a segment stands for it.
        let above = lines.get(..=cursor)?.iter().rev().find(|above| above.row.range.is_some());
        let range = line.row.range.clone().or_else(|| above?.row.range.clone());
        let Some(range) = range.filter(|_| self.tab == Tab::Segments) else {
            self.message = Some(("choose a segment first: key 2".to_owned(), true));
            return None;
        };
        self.message = Some(("reading the segment's history …".to_owned(), false));
        Some(Ask::Explain { pid: range.pid, start: range.start, end: range.end })
    }

    fn type_in(&mut self, key: KeyEvent) -> Option<Ask> {
        let mut typed = self.typing.take()?;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Some(Ask::Quit),
            KeyCode::Char('u') if control => typed.clear(),
            KeyCode::Esc => return None,
            KeyCode::Enter => {
                self.set_filter(&typed);
                return None;
            }
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(c) if !control && typed.chars().count() < FILTER_MAX => typed.push(c),
            _ => {}
        }
        self.typing = Some(typed);
        None
    }

    fn set_filter(&mut self, filter: &str) {
        match filter_of(filter) {
            Ok(found) => {
                (self.view.filter, self.filter) = (found, filter.to_owned());
                (self.cursor, self.top, self.chosen) = (0, 0, None);
                self.digest();
            }
            Err(why) => self.message = Some((text::clean(&why), true)),
        }
    }

    fn scroll(&mut self, act: Act) {
        let room = self.room();
        let Some(overlay) = &mut self.overlay else { return };
        let most = overlay.lines.len().saturating_sub(room);
        let page = room.saturating_sub(1).max(1);
        let top = overlay.top;
        overlay.top = match act {
            Act::Move(by) => top.saturating_add_signed(by),
            Act::Page(by) if by > 0 => top + page,
            Act::Page(_) => top.saturating_sub(page),
            Act::First => 0,
            Act::Last => most,
            _ => return self.overlay = None,
        }
        .min(most);
    }
}

/// A filter, upper and lower case alike unless it has upper case.
fn filter_of(text: &str) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let plain = !text.chars().any(char::is_uppercase);
    let built = RegexBuilder::new(text).case_insensitive(plain).size_limit(FILTER_SIZE).build();
    built.map(Some).map_err(|error| format!("{text:?} is no regular expression: {error}"))
}
