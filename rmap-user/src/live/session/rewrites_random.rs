//! Numbers at random, and an order at random of many numbers that needs no room.
//!
//! Comes in: a seed. Goes out: numbers. Not for secrets.

/// splitmix64.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 up to 1, without it.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const fn mix(of: u64) -> u64 {
    let of = (of ^ of >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let of = (of ^ of >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ of >> 31
}

/// The numbers below a bound in an order at random, each once: a Feistel network on the next power of
/// four, of which numbers beyond the bound are left out.
pub(super) struct Permutation {
    bound: u64,
    half_bits: u32,
    keys: [u64; 4],
    at: u64,
}

impl Permutation {
    pub(super) fn new(bound: u64, random: &mut Random) -> Self {
        let bits = u64::BITS - bound.saturating_sub(1).leading_zeros();
        let keys = [random.next(), random.next(), random.next(), random.next()];
        Self { bound, half_bits: bits.div_ceil(2).max(1), keys, at: 0 }
    }

    fn place_of(&self, number: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ mix(right.wrapping_add(key)) & mask);
        }
        left << self.half_bits | right
    }
}

impl Iterator for Permutation {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let end = 1_u64 << (2 * self.half_bits);
        while self.at < end {
            let number = self.place_of(self.at);
            self.at += 1;
            if number < self.bound {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_every_number_once_and_differs_by_its_seed() {
        for bound in [0, 1, 2, 3, 4, 5, 100, 1000, 4096] {
            let order = |seed| Permutation::new(bound, &mut Random::new(seed)).collect::<Vec<_>>();
            let mut sorted = order(1);
            if bound >= 100 {
                assert_ne!(sorted, order(2));
                assert!(!sorted.is_sorted());
            }
            sorted.sort_unstable();
            assert_eq!(sorted, (0..bound).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_of_many_permutations_are_spread_evenly() {
        let mut random = Random::new(7);
        let mut counts = [0; 10];
        for _ in 0..10_000 {
            let first = Permutation::new(1000, &mut random).next().unwrap();
            counts[first as usize / 100] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
