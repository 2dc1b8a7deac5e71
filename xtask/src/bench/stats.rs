//! Medians and their spread.
//!
//! Comes in: numbers of repeated runs. Goes out: the median, and the median absolute deviation
//! from it, which a single disturbed run does not move.

/// The median; 0 of nothing.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (1, Some(one)) => *one,
        (_, Some(upper)) => sorted.get(middle.wrapping_sub(1)).map_or(0.0, |l| (l + upper) / 2.0),
        (_, None) => 0.0,
    }
}

/// The median absolute deviation.
pub fn deviation(numbers: &[f64]) -> f64 {
    let middle = median(numbers);
    median(&numbers.iter().map(|number| (number - middle).abs()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_disturbed_run_moves_nothing() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[2.0, 1.0]), 1.5);
        assert_eq!(median(&[3.0, 1.0, 900.0]), 3.0);
        assert_eq!(deviation(&[3.0, 1.0, 900.0]), 2.0);
        assert_eq!(deviation(&[5.0, 5.0, 5.0]), 0.0);
    }
}
