//! Whether a curve still rises at its end.
//!
//! Comes in: bytes at places spread evenly over a session. Goes out: a [`Growth`], or nothing. A cache
//! that fills and stops, one that fills ever more slowly, and an allocator whose size goes up and down, do
//! not grow: what counts is what is left at the lowest points.

use crate::report::Growth;

/// Fewer points say nothing.
pub const POINTS_MIN: usize = 12;
/// The last third is cut into so many parts, each of which must hold more at its lowest point than the
/// one before. Of huge pages one part may have got none, but not the last.
pub const PARTS: usize = 4;
/// Growth of the last third below this many bytes is not worth a word.
pub const BYTES_MIN: u64 = 256 << 10;
/// Nor is growth below this share of what is held, in percent.
pub const SHARE_MIN: u64 = 5;
/// Whatever grew for less than this may have been a start, ns.
pub const SHORTEST_NS: u64 = 1_000_000_000;
/// In the last sixth it must have grown by this share of its rate since its beginning, in percent.
pub const LEVEL_PERCENT: u64 = 33;

/// Judges a curve of (ns since the start, bytes), in the order of time, evenly spread.
#[must_use]
pub fn growth(curve: &[(u64, u64)]) -> Option<Growth> {
    if curve.len() < POINTS_MIN {
        return None;
    }
    let third = &curve[curve.len() - curve.len() / 3..];
    let lowest: Vec<u64> = parts(third).map(lowest).collect();
    let risen = lowest.windows(2).filter(|pair| pair[0] < pair[1]).count();
    let fell = lowest.windows(2).any(|pair| pair[0] > pair[1]);
    let at_last = lowest.windows(2).last().is_some_and(|pair| pair[0] < pair[1]);
    if fell || !at_last || risen + 2 < PARTS {
        return None;
    }
    let (first, last) = (*lowest.first()?, *lowest.last()?);
    let rise = last - first;
    let (ended_ns, held) = *curve.last()?;
    if rise < BYTES_MIN || rise * 100 < held * SHARE_MIN {
        return None;
    }
    let since = since(curve);
    let (since_ns, before) = *curve.get(since)?;
    if ended_ns - since_ns < SHORTEST_NS {
        return None;
    }
    // From the middle of the first part to that of the last one are three of four parts of a third.
    let (lasted, sixth) = (curve.len() - since, third.len() / 2);
    let recent = last.saturating_sub(*lowest.get(PARTS / 2 - 1)?);
    let whole = last.saturating_sub(before);
    let fair = u128::from(whole) * (sixth as u128) / (lasted as u128).max(1);
    if u128::from(recent) * 100 < fair * u128::from(LEVEL_PERCENT) {
        return None;
    }
    Some(Growth { bytes_per_s: slope(third), since_ns, still: true })
}

/// By how much it rose in its last third, as it is left at the lowest points.
#[must_use]
pub fn rise(curve: &[(u64, u64)]) -> u64 {
    let third = &curve[curve.len() - curve.len() / 3..];
    let mut lowest = parts(third).map(lowest);
    let first = lowest.next().unwrap_or(0);
    lowest.last().unwrap_or(0).saturating_sub(first)
}

/// Bytes a second in the last third, by least squares.
#[must_use]
pub fn last_slope(curve: &[(u64, u64)]) -> u64 {
    slope(&curve[curve.len() - curve.len() / 3..])
}

fn parts(points: &[(u64, u64)]) -> impl Iterator<Item = &[(u64, u64)]> {
    let at = |part: usize| part * points.len() / PARTS;
    (0..PARTS).map(move |part| &points[at(part)..at(part + 1)])
}

fn lowest(points: &[(u64, u64)]) -> u64 {
    points.iter().map(|(_, bytes)| *bytes).min().unwrap_or(0)
}

fn slope(points: &[(u64, u64)]) -> u64 {
    let count = points.len() as f64;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let mean_t = points.iter().map(|(t, _)| seconds(*t)).sum::<f64>() / count;
    let mean_b = points.iter().map(|(_, b)| *b as f64).sum::<f64>() / count;
    let (mut above, mut below) = (0.0, 0.0);
    for (t, b) in points {
        let dt = seconds(*t) - mean_t;
        above += dt * (*b as f64 - mean_b);
        below += dt * dt;
    }
    if below > 0.0 { (above / below).max(0.0) as u64 } else { 0 }
}

/// The last point at which it held no more than it did at any later one: from there on it grew.
fn since(curve: &[(u64, u64)]) -> usize {
    let mut floor = u64::MAX;
    let mut since = curve.len().saturating_sub(1);
    let mut flat = 0;
    for (at, (_, bytes)) in curve.iter().enumerate().rev() {
        if *bytes < floor {
            (floor, flat) = (*bytes, 0);
            since = at;
        } else {
            flat += 1;
        }
        // A plateau of a sixth of the session is where the growth began.
        if flat > curve.len() / 6 {
            break;
        }
    }
    since
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn curve(of: impl Fn(u64) -> u64) -> Vec<(u64, u64)> {
        (0..60).map(|n| (n * 100_000_000, of(n))).collect()
    }

    #[test]
    fn a_leak_grows_by_its_rate_from_its_beginning() {
        let leak = curve(|n| if n < 20 { 5 * MIB } else { 5 * MIB + (n - 20) * MIB });
        let growth = growth(&leak).unwrap();
        assert!(growth.bytes_per_s.abs_diff(10 * MIB) < MIB / 10, "{growth:?}");
        assert!((18..=21).contains(&(growth.since_ns / 100_000_000)), "{growth:?}");
    }

    #[test]
    fn what_fills_and_stops_or_goes_up_and_down_does_not_grow() {
        assert_eq!(growth(&curve(|n| n.min(40) * MIB)), None, "a cache that fills");
        assert_eq!(growth(&curve(|n| (n % 7) * 3 * MIB)), None, "a sawtooth");
        assert_eq!(growth(&curve(|n| n.min(45) / 3 * 3 * MIB)), None, "one that fills in steps");
        assert_eq!(growth(&curve(|_| 100 * MIB)), None, "flat");
        assert_eq!(growth(&curve(|n| 100 * MIB + n * 4096)), None, "a trickle");
        assert_eq!(growth(&curve(|n| 200 * MIB - n * MIB)), None, "it shrinks");
        assert_eq!(growth(&curve(|n| n * MIB)[..8]), None, "too few points");
    }

    #[test]
    fn what_fills_ever_more_slowly_does_not_grow() {
        let full = |n: u64| (100.0 * MIB as f64 * (1.0 - (-(n as f64) / 15.0).exp())) as u64;
        assert_eq!(growth(&curve(full)), None);
    }

    #[test]
    fn what_grew_for_less_than_a_second_was_a_start() {
        let short: Vec<_> = curve(|n| n * MIB).iter().map(|(t, b)| (t / 8, *b)).collect();
        assert_eq!(growth(&short), None);
    }

    #[test]
    fn a_leak_in_steps_of_huge_pages_is_seen() {
        let leak = curve(|n| 2 * MIB * (n * 13 / 100));
        assert!(growth(&leak).is_some_and(|growth| growth.still));
    }

    #[test]
    fn a_leak_under_a_sawtooth_is_seen() {
        let leak = curve(|n| 10 * MIB + n * MIB + (n % 3) * MIB / 2);
        assert!(growth(&leak).is_some_and(|growth| growth.still));
    }
}
