//! What people and programs read: a [`Report`](crate::report::Report) goes in, text goes out.
//!
//! [`table`] is for people, [`json`] for programs. Neither opens files nor asks the terminal:
//! they write to what they are given, in the [`Style`] they are given. Every string that comes
//! from outside (names of mappings, commands, functions, files) passes [`text::clean`].

mod cgroup;
mod chain;
pub mod columns;
pub mod diff;
pub mod explain;
pub mod export;
pub mod facets;
pub mod flame;
mod grid;
pub mod heap;
pub mod json;
mod listed;
mod malloc;
pub mod number;
pub mod order;
pub mod page;
mod paint;
mod rewrites;
pub mod samples;
pub mod screen;
pub mod select;
pub mod table;
pub mod text;
pub mod unit;
pub mod words;

/// How a table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// No line is longer than this many terminal columns; `None`: names are given in full, for
    /// files and pipes.
    pub width: Option<usize>,
    /// Colour and weight by ANSI escapes (SGR only).
    pub colour: bool,
    /// What stands first in each list.
    pub sort: order::Sort,
    /// Rows of each list before the rest is summed up in one line; `None`: all.
    pub top: Option<usize>,
    /// The same of the lists of what was released and of what is gone.
    pub short: Option<usize>,
    /// Processes that are shown in detail, the largest first; `None`: all.
    pub processes: Option<usize>,
    /// Whole stacks under the code paths, the meaning of the causes, every probe.
    pub verbose: bool,
}

/// Rows of the table if nobody says otherwise.
pub const DEFAULT_TOP: usize = 15;

/// Rows of the lists of what was released and of what is gone, if nobody says otherwise.
pub const DEFAULT_SHORT: usize = 5;

/// Processes shown in detail if nobody says otherwise.
pub const DEFAULT_PROCESSES: usize = 3;

impl Default for Style {
    /// Full names, no colour, the largest few.
    fn default() -> Self {
        Self {
            width: None,
            colour: false,
            sort: order::Sort::Total,
            top: Some(DEFAULT_TOP),
            short: Some(DEFAULT_SHORT),
            processes: Some(DEFAULT_PROCESSES),
            verbose: false,
        }
    }
}
