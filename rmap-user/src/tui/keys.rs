//! What keys mean, and the help that says so.
//!
//! Comes in: a key. Goes out: what it asks for. Keys are those of less and htop.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::digest::{TABS, Tab};

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The end.
    Quit,
    /// Close what is open, clear the filter.
    Escape,
    /// The help.
    Help,
    /// Other rows.
    Tab(Tab),
    /// The next rows (true), or those before.
    Turn(bool),
    /// So many rows down, or up.
    Move(isize),
    /// So many half pages down, or up.
    Page(isize),
    /// The first row.
    First,
    /// The last one.
    Last,
    /// Fold or unfold the row.
    Toggle,
    /// Unfold (true) or fold.
    Fold(bool),
    /// Unfold or fold all.
    FoldAll,
    /// To the right: unfold, or the next moment.
    Right,
    /// To the left: fold, or the moment before.
    Left,
    /// So many moments on, or back.
    Moments(isize),
    /// The next moment that has a name (true), or the one before.
    Named(bool),
    /// Sort by the next column (true), or the one before.
    Sort(bool),
    /// The other way round.
    Invert,
    /// Ask for a filter.
    Filter,
    /// From here on.
    Mark,
    /// From the start again.
    Unmark,
    /// Stop the picture, or go on.
    Pause,
    /// The history of the segment.
    Explain,
    /// The page for a browser.
    Write,
}

/// What a key means; `None`: nothing.
#[must_use]
pub fn act(key: KeyEvent) -> Option<Act> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return Some(match key.code {
            KeyCode::Char('c' | 'q') => Act::Quit,
            KeyCode::Char('b' | 'u') => Act::Page(-1),
            KeyCode::Char('f' | 'd') => Act::Page(1),
            KeyCode::Char('n') => Act::Move(1),
            KeyCode::Char('p') => Act::Move(-1),
            _ => return None,
        });
    }
    let shifted = key.modifiers.contains(KeyModifiers::SHIFT);
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::F(10) => Act::Quit,
        KeyCode::Esc => Act::Escape,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Act::Help,
        KeyCode::Char(digit @ '1'..='4') => {
            let at = usize::try_from(u32::from(digit) - u32::from('1')).unwrap_or(0);
            Act::Tab(TABS.get(at)?.0)
        }
        KeyCode::Tab => Act::Turn(true),
        KeyCode::BackTab => Act::Turn(false),
        KeyCode::Down | KeyCode::Char('j') => Act::Move(1),
        KeyCode::Up | KeyCode::Char('k') => Act::Move(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => Act::Page(1),
        KeyCode::PageUp | KeyCode::Char('b') => Act::Page(-1),
        KeyCode::Home | KeyCode::Char('g') => Act::First,
        KeyCode::End | KeyCode::Char('G') => Act::Last,
        KeyCode::Enter => Act::Toggle,
        KeyCode::Char('+' | '=') => Act::Fold(true),
        KeyCode::Char('-') => Act::Fold(false),
        KeyCode::Char('*') => Act::FoldAll,
        KeyCode::Right if shifted => Act::Moments(10),
        KeyCode::Left if shifted => Act::Moments(-10),
        KeyCode::Right | KeyCode::Char('l') => Act::Right,
        KeyCode::Left => Act::Left,
        KeyCode::Char('[') => Act::Named(false),
        KeyCode::Char(']') => Act::Named(true),
        KeyCode::Char('s' | '>') | KeyCode::F(6) => Act::Sort(true),
        KeyCode::Char('<') => Act::Sort(false),
        KeyCode::Char('I' | 'r') => Act::Invert,
        KeyCode::Char('/') | KeyCode::F(4) => Act::Filter,
        KeyCode::Char('m') => Act::Mark,
        KeyCode::Char('M') => Act::Unmark,
        KeyCode::Char('p') => Act::Pause,
        KeyCode::Char('e') => Act::Explain,
        KeyCode::Char('w') => Act::Write,
        _ => return None,
    })
}

/// The help: keys, and what they do. An empty line stands between groups.
#[must_use]
pub fn help(live: bool) -> Vec<(&'static str, &'static str)> {
    let mut lines = vec![
        ("1 2 3 4, Tab", "owners, segments, processes, the tree of calls"),
        ("Up Down, j k", "one row; PgUp PgDn, Space b: a page; Home End, g G: the ends"),
        ("Enter, + -", "unfold and fold the row; * all rows"),
        ("s, < >", "sort by RSS, Dirty, what came since the mark, name; r reverses"),
        ("/", "show rows that match a regular expression; Esc shows all"),
        ("m", "mark: from here on, the column Since shows what came; M ends it"),
    ];
    if live {
        lines.extend([
            ("Left Right", "fold and unfold"),
            ("p", "pause the picture; what is traced goes on"),
        ]);
    } else {
        lines.extend([
            ("Left Right", "the moment before, the next one; with Shift ten of them"),
            ("[ ]", "the next moment with a name: marks, peak, start, end"),
            ("e", "the history of the segment (tab 2)"),
        ]);
    }
    lines.push(("w", "write the page for a browser, and say where"));
    if live {
        lines.push(("q, Ctrl-C", "end; what is traced goes on untraced, as it was"));
    } else {
        lines.push(("q, Ctrl-C", "end"));
    }
    lines
}
