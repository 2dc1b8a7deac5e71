//! A span of time on the command line.
//!
//! Comes in: text. Goes out: the time, or what to give.

use std::time::Duration;

/// Seconds as a number over 0, with or without a fraction.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "give seconds as a number over 0, such as 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(interval) if !interval.is_zero() => Ok(interval),
        _ => Err(wrong()),
    }
}
