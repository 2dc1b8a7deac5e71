//! The hash by which a stack is named.
//!
//! It must be cheap in BPF (no wide multiplication) and spread well over 64 bits: two different
//! stacks of one session must not meet. With a million stacks the chance is about 3e-8.

/// Where a sum starts.
pub const START: u64 = 0x9e37_79b9_7f4a_7c15;

/// Adds one address. The order counts.
#[inline(always)]
#[must_use]
pub const fn add(sum: u64, value: u64) -> u64 {
    let mixed = (sum ^ value).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 32)
}

/// Ends a sum with the way in which the walk ended; never 0, which says that there is no stack.
#[inline(always)]
#[must_use]
pub const fn finish(sum: u64, status: u16) -> u64 {
    let hash = add(sum, status as u64 + 1);
    if hash == 0 { 1 } else { hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64], status: u16) -> u64 {
        finish(values.iter().fold(START, |sum, value| add(sum, *value)), status)
    }

    #[test]
    fn order_length_and_end_count() {
        assert_ne!(of(&[1, 2], 0), of(&[2, 1], 0));
        assert_ne!(of(&[1, 2], 0), of(&[1, 2, 0], 0));
        assert_ne!(of(&[1, 2], 0), of(&[1, 2], 1));
        assert_ne!(of(&[], 0), 0);
    }

    #[test]
    fn a_hundred_thousand_near_stacks_do_not_meet() {
        let mut all: [u64; 100_000] = [0; 100_000];
        for (index, slot) in all.iter_mut().enumerate() {
            let index = index as u64;
            *slot = of(&[0x7f00_0000_1000 + 4 * (index % 331), 0x5500_0000 + 8 * (index / 331)], 0);
        }
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
