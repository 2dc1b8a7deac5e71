//! The options of every command that shows a report or a difference (`run`, `attach`, `report`,
//! `diff`, `flame`, `export`): which part of it, in what order, and how much of each list.
//! `docs/report.md` says what they mean, for all of them at once.

use std::borrow::Cow;

use clap::{Args, ValueEnum};

use crate::report::Report;
use crate::view::order::{Listing, Sort};
use crate::view::select::{NothingMeant, Selection};

/// Which part of a report is meant, and how it is listed.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectOptions {
    /// Rows of each list, 0 for all
    #[arg(
        long,
        value_name = "N",
        long_help = "Rows of each list, the rest summed up in one; 0 for all. Without it a table \
                     has 15 (5 of what is gone or was released), flame graphs and exports have \
                     all stacks. JSON always has everything"
    )]
    pub top: Option<usize>,

    /// Order by total, rss, dirty, growth, address or name
    #[arg(
        long,
        value_name = "KEY",
        hide_possible_values = true,
        long_help = "What stands first in each list, and so what --top keeps: the most RSS and \
                     Dirty together (total), the most rss, the most dirty, what grew most since \
                     the start (growth), the lowest address, or by name; of differences, the \
                     largest change. In a flame graph boxes stand by name. JSON has an order of \
                     its own"
    )]
    pub sort: Option<Key>,

    /// Only this segment: a name, an address inside it, or START-END; may be repeated
    #[arg(
        long,
        value_name = "SEGMENT",
        hide_short_help = true,
        long_help = "Only this segment: its name or the name's last part ([heap], libc.so.6), an \
                     address inside it (0x…), or START-END; may be repeated. Sums and shares are \
                     of what is left"
    )]
    pub segment: Vec<String>,

    /// Only this process: its id or its program; may be repeated
    #[arg(long, value_name = "PROCESS", hide_short_help = true)]
    pub process: Vec<String>,
}

/// What stands first, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// RSS and Dirty together
    Total,
    /// RSS
    Rss,
    /// Dirty
    Dirty,
    /// What grew most
    Growth,
    /// The lowest address
    Address,
    /// By name
    Name,
}

impl From<Key> for Sort {
    fn from(key: Key) -> Self {
        match key {
            Key::Total => Self::Total,
            Key::Rss => Self::Rss,
            Key::Dirty => Self::Dirty,
            Key::Growth => Self::Growth,
            Key::Address => Self::Address,
            Key::Name => Self::Name,
        }
    }
}

impl SelectOptions {
    /// Which part is meant.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection { processes: self.process.clone(), segments: self.segment.clone() }
    }

    /// The part of a report that is meant.
    ///
    /// # Errors
    /// Nothing in it is.
    pub fn part<'a>(&self, report: &'a Report) -> Result<Cow<'a, Report>, NothingMeant> {
        let selection = self.selection();
        if selection.is_all() {
            return Ok(Cow::Borrowed(report));
        }
        selection.of(report.clone()).map(Cow::Owned)
    }

    /// Rows of each list where a view has `usual` ones; `None`: all.
    #[must_use]
    pub const fn rows(&self, usual: Option<usize>) -> Option<usize> {
        match self.top {
            None => usual,
            Some(0) => None,
            top => top,
        }
    }

    /// The order of a table's lists.
    #[must_use]
    pub fn order(&self) -> Sort {
        self.sort.map_or(Sort::Total, Sort::from)
    }

    /// The same for flame graphs and exports.
    #[must_use]
    pub fn listing(&self) -> Listing {
        Listing { sort: self.sort.map(Sort::from), top: self.rows(None) }
    }
}
