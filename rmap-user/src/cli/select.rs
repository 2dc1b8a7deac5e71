//! The filters that every command has which shows a report, with the same meaning everywhere.

use clap::Args;

use crate::view::select::Selection;

/// Which part of a report is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectOptions {
    /// Only this segment: a name, an address inside it, or START-END; may be repeated
    #[arg(long, value_name = "SEGMENT", hide_short_help = true)]
    pub segment: Vec<String>,

    /// Only this process: its id or its program; may be repeated
    #[arg(long, value_name = "PROCESS", hide_short_help = true)]
    pub process: Vec<String>,
}

impl SelectOptions {
    /// The same for the views.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection { processes: self.process.clone(), segments: self.segment.clone() }
    }
}
