//! The options that name moments of a session: which state, or what came from one to another.
//!
//! Comes in: arguments. Goes out: [`Asked`].

use std::time::Duration;

use clap::Args;

use crate::live::session::marks::NAME_MAX;
use crate::report::{Asked, At};

/// Which moments are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct MomentOptions {
    /// Report the state at WHEN: peak, end, SECONDS, or a mark
    #[arg(
        long,
        value_name = "WHEN",
        value_parser = moment,
        hide_short_help = true,
        conflicts_with = "window",
        long_help = "Report the state at WHEN: `peak` (RSS was highest), `end`, SECONDS after the \
                     start, or the name that `rmap mark` gave to a moment"
    )]
    pub at: Option<At>,

    /// Report what came after A and is still there at B
    #[arg(
        long,
        value_name = "A..B",
        value_parser = window,
        hide_short_help = true,
        long_help = "Report what came after A and is still there at B, by call path and segment, and \
                     what was freed in between. A and B are moments as of --at; without A it is the \
                     start, without B the end"
    )]
    pub window: Option<Window>,
}

/// Two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    from: At,
    to: At,
}

impl MomentOptions {
    /// What is asked for: without any option the end.
    #[must_use]
    pub fn asked(&self) -> Asked {
        match &self.window {
            Some(Window { from, to }) => Asked::Window(from.clone(), to.clone()),
            None => Asked::State(self.at.clone().unwrap_or_default()),
        }
    }

    /// Whether a moment was named.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        self.at.is_some() || self.window.is_some()
    }
}

/// `peak`, `end`, seconds after the start, 0 too; else the name of a mark.
fn moment(text: &str) -> Result<At, String> {
    match text {
        "end" => Ok(At::End),
        "peak" => Ok(At::Peak),
        _ => match text.parse::<f64>().map(Duration::try_from_secs_f64) {
            Ok(Ok(after)) => u64::try_from(after.as_nanos()).map(At::Time).map_err(|_| wrong()),
            Ok(Err(_)) => Err(wrong()),
            Err(_) => name(text).map(At::Mark),
        },
    }
}

fn wrong() -> String {
    "give peak, end, seconds after the start such as 0.5, or the name of a mark".to_owned()
}

/// A name that a moment may have.
///
/// # Errors
/// What such a name may not be.
pub fn name(text: &str) -> Result<String, String> {
    let is_other = text.parse::<f64>().is_ok() || ["peak", "end"].contains(&text);
    if is_other || text.contains("..") {
        return Err(format!(
            "{text:?} is no name: a mark is no number, not peak, not end, no A..B"
        ));
    }
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        return Err(format!("a mark's name has 1 to {NAME_MAX} bytes, and no control characters"));
    }
    Ok(text.to_owned())
}

fn window(text: &str) -> Result<Window, String> {
    let (from, to) = text
        .split_once("..")
        .ok_or("give two moments, such as 0.5..2, load..served or peak..end")?;
    let or = |text: &str, default| if text.is_empty() { Ok(default) } else { moment(text) };
    Ok(Window { from: or(from, At::Time(0))?, to: or(to, At::End)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_marks_or_words() {
        assert_eq!(moment("peak"), Ok(At::Peak));
        assert_eq!(moment("0.5"), Ok(At::Time(500_000_000)));
        assert_eq!(moment("served"), Ok(At::Mark("served".to_owned())));
        for wrong in ["-1", "nan", "1e300", "", "a\nb"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_window_has_two_moments_of_which_each_may_be_missing() {
        let of = |from, to| Ok(Window { from, to });
        assert_eq!(window("0.5..1.5"), of(At::Time(500_000_000), At::Time(1_500_000_000)));
        assert_eq!(window("load..served"), of(At::Mark("load".into()), At::Mark("served".into())));
        assert_eq!(window("..peak"), of(At::Time(0), At::Peak));
        assert_eq!(window("peak.."), of(At::Peak, At::End));
        assert!(window("1").is_err());
    }
}
