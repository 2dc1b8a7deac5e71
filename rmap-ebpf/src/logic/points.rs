//! Points among the bytes that a thread allocates: a Poisson process, drawn without floating point.
//!
//! Comes in: 64 random bits, and the bytes from one point to the next on average. Goes out: the bytes to
//! the next point. An allocation of `s` bytes reaches it if `s` is at least that, which has the
//! probability `1 - exp(-s / mean)`.

/// Bits behind the point of a logarithm.
const BITS: u32 = 24;
/// The natural logarithm of 2, with 32 bits behind the point.
const LN_2: u64 = 2_977_044_472;
/// The largest mean: what is drawn from it, at most 45 times as much, fits into 64 bits.
const MEAN_MAX: u64 = 1 << 57;

/// The negative natural logarithm of `random / 2^64`, with 24 bits behind the point, good to
/// some 1e-7. At most 45, which 0 stands for.
#[inline(always)]
#[must_use]
pub fn exponential(random: u64) -> u64 {
    let random = random | 1;
    let zeros = leading_zeros(random);
    // From 1 up to 2, with 31 bits behind the point.
    let mut part = random << zeros >> 32;
    let mut fraction = 0;
    let mut bit = 0;
    // The square of a number has twice its logarithm, of which the digit before the point comes out.
    while bit < BITS {
        part = (part * part) >> 31;
        let carry = part >> 32;
        part >>= carry;
        fraction = fraction << 1 | carry;
        bit += 1;
    }
    let base_2 = ((zeros + 1) << BITS) - fraction;
    (base_2 * LN_2) >> 32
}

/// Bytes to the next point, at least one.
#[inline(always)]
#[must_use]
pub fn next(random: u64, mean: u64) -> u64 {
    let mean = if mean > MEAN_MAX { MEAN_MAX } else { mean };
    let times = exponential(random);
    let (high, low) = (mean >> BITS, mean & ((1 << BITS) - 1));
    high * times + ((low * times) >> BITS) + 1
}

/// In steps: processors of BPF have no instruction for it.
#[inline(always)]
fn leading_zeros(number: u64) -> u64 {
    let mut rest = number;
    let mut zeros = 0;
    let mut width = 32;
    while width > 0 {
        // 1 where the upper half of what is left is empty; no branch, which the verifier would take
        // both ways at every step.
        let empty = (rest >> (64 - width)).wrapping_sub(1) >> 63;
        let shift = empty * width;
        rest <<= shift;
        zeros += shift;
        width >>= 1;
    }
    zeros
}

/// The product of two sizes; 0 where it is none: the allocator refuses that.
#[inline(always)]
#[must_use]
pub fn product(members: u64, size: u64) -> u64 {
    // By halves: the compiler makes a multiplication of 128 bits of other ways to see an overflow, and
    // BPF has none.
    let (many, few) = (members >> 32, members & LOW);
    let (large, small) = (size >> 32, size & LOW);
    if many != 0 && large != 0 {
        return 0;
    }
    let middle = many * small + few * large;
    let low = few * small;
    let sum = (middle << 32).wrapping_add(low);
    if middle >> 32 != 0 || sum < low { 0 } else { sum }
}

/// The lower half of a number.
const LOW: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed;
        core::iter::repeat_with(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        })
    }

    #[test]
    fn zeros_are_counted() {
        for number in (0..64).map(|bit| 1_u64 << bit).chain(numbers(1).take(1000)) {
            assert_eq!(leading_zeros(number), u64::from(number.leading_zeros()), "{number:#x}");
        }
    }

    #[test]
    fn logarithms_are_those_of_floating_point() {
        let edges = [0, 1, 2, 3, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, 1 << 32];
        let small = numbers(2).take(1000).enumerate().map(|(at, number)| number >> (at % 64));
        for random in edges.into_iter().chain(small) {
            let truth = -((random | 1) as f64 / 2_f64.powi(64)).ln();
            let found = exponential(random) as f64 / f64::from(1 << BITS);
            assert!((found - truth).abs() < 3e-7 * truth.max(1.0), "{random:#x}: {found} {truth}");
        }
    }

    #[test]
    fn an_allocation_reaches_a_point_as_often_as_a_poisson_process_says() {
        const DRAWS: usize = 200_000;
        for mean in [1, 100, 4096, 512 << 10, 3 << 30, 1 << 40] {
            for size in [mean / 10 + 1, mean, mean * 3] {
                let reached =
                    numbers(mean ^ size).take(DRAWS).filter(|random| next(*random, mean) <= size);
                let share = reached.count() as f64 / DRAWS as f64;
                let truth = -(-(size as f64) / mean as f64).exp_m1();
                assert!((share - truth).abs() < 0.005, "{mean} {size}: {share} {truth}");
            }
        }
    }

    #[test]
    fn the_mean_distance_is_the_mean() {
        for mean in [1000, 512 << 10, (1 << 33) + 12_345] {
            let all = numbers(mean).take(100_000).map(|random| next(random, mean) as f64);
            let average = all.sum::<f64>() / 100_000.0;
            assert!((average / mean as f64 - 1.0).abs() < 0.015, "{mean}: {average}");
        }
    }

    #[test]
    fn no_mean_is_too_large() {
        for mean in [0, 1, u64::MAX, MEAN_MAX, MEAN_MAX + 1] {
            for random in [0, 1, u64::MAX] {
                assert!(next(random, mean) >= 1);
            }
        }
        assert!(next(1, u64::MAX) > 44 * MEAN_MAX);
    }

    #[test]
    fn products_that_are_none_are_nothing() {
        assert_eq!(product(3, 1000), 3000);
        assert_eq!(product(1, 5 << 32), 5 << 32);
        assert_eq!(product(0, u64::MAX), 0);
        assert_eq!(product(u64::MAX, 0), 0);
        assert_eq!(product(1 << 33, 1 << 31), 0);
        assert_eq!(product(u64::MAX, 2), 0);
        assert_eq!(product((1 << 32) + 1, u32::MAX.into()), u64::MAX);
        assert_eq!(product((1 << 32) + 1, 1 << 32), 0);
    }
}
