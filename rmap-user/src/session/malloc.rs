//! Live blocks as the report shows them: estimates by call path.
//!
//! Comes in: picked blocks. Goes out: the report's types. A block of `s` bytes was picked with the
//! probability `p = 1 - exp(-s / mean)`, and each block independently of the others; so a picked one
//! stands for `s / p` bytes and `1 / p` blocks (Horvitz and Thompson). The interval is that of Fay and
//! Feuer for weighted sums of Poisson counts ("Confidence intervals for directly standardized rates",
//! Statistics in Medicine 16, 1997), with variances of `(1 - p) (s / p)²`: where all blocks are picked
//! there is nothing to estimate.

use rustc_hash::FxHashMap;

use crate::model::{Block, Blocks, StackRef};
use crate::report::{Malloc, MallocPath, MallocState, StackId};

/// The normal distribution's quantile of 97.5 %.
const Z: f64 = 1.959_963_985;

/// A sum over picked blocks.
#[derive(Clone, Copy, Debug, Default)]
struct Estimate {
    sampled: u64,
    /// Bytes of the picked blocks themselves: at least those are there.
    seen: f64,
    bytes: f64,
    count: f64,
    variance: f64,
    /// The largest weight, less what is certain of it.
    largest: f64,
    first_ns: u64,
    last_ns: u64,
}

impl Estimate {
    fn add(&mut self, block: &Block) {
        let size = block.size as f64;
        let picked = -(-size / block.mean.max(1) as f64).exp_m1();
        if picked <= 0.0 {
            return;
        }
        let weight = size / picked;
        if self.sampled == 0 {
            self.first_ns = block.time_ns;
        }
        self.sampled += 1;
        self.first_ns = self.first_ns.min(block.time_ns);
        self.last_ns = self.last_ns.max(block.time_ns);
        self.seen += size;
        self.bytes += weight;
        self.count += 1.0 / picked;
        self.variance += (1.0 - picked) * weight * weight;
        self.largest = self.largest.max((1.0 - picked) * weight);
    }

    /// The 95 % interval, in bytes.
    fn interval(&self) -> [f64; 2] {
        if self.bytes <= 0.0 || self.variance <= 0.0 {
            return [self.bytes; 2];
        }
        let scaled = |bytes: f64, variance: f64, z: f64| {
            let freedom = 2.0 * bytes * bytes / variance;
            variance / (2.0 * bytes) * chi_squared(freedom, z)
        };
        let low = scaled(self.bytes, self.variance, -Z);
        let high =
            scaled(self.bytes + self.largest, self.variance + self.largest * self.largest, Z);
        [low.max(self.seen).min(self.bytes), high.max(self.bytes)]
    }
}

/// A quantile of the chi-squared distribution, by that of the normal one (Wilson and Hilferty).
fn chi_squared(freedom: f64, z: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + z * part.sqrt()).max(0.0).powi(3)
}

/// The estimates of live bytes by call path.
pub(super) fn by_stack(blocks: &Blocks) -> FxHashMap<Option<StackRef>, u64> {
    let mut found: FxHashMap<Option<StackRef>, Estimate> = FxHashMap::default();
    blocks.live().for_each(|block| found.entry(block.stack).or_default().add(block));
    found.into_iter().map(|(stack, of)| (stack, whole(of.bytes))).collect()
}

/// Whole bytes, or blocks.
fn whole(number: f64) -> u64 {
    // What is too large becomes the largest.
    number.round() as u64
}

/// The live blocks of a process, of those that were allocated from a moment on (`CLOCK_MONOTONIC`, ns).
/// `None`: the shim is not in the process.
pub(super) fn report(
    blocks: &Blocks,
    from_ns: u64,
    relative: &dyn Fn(u64) -> u64,
    number: &mut dyn FnMut(StackRef) -> StackId,
) -> Option<Malloc> {
    if !blocks.loaded {
        return None;
    }
    let mut all = Estimate::default();
    let mut by_stack: FxHashMap<Option<StackRef>, Estimate> = FxHashMap::default();
    for block in blocks.live().filter(|block| block.time_ns >= from_ns) {
        all.add(block);
        by_stack.entry(block.stack).or_default().add(block);
    }
    let mut paths: Vec<_> = by_stack.into_iter().filter(|(_, of)| of.sampled > 0).collect();
    paths.sort_by(|(a, one), (b, other)| other.bytes.total_cmp(&one.bytes).then(a.cmp(b)));
    let paths = paths.into_iter().map(|(stack, of)| {
        let [low, high] = of.interval();
        MallocPath {
            stack: stack.map(&mut *number),
            live_bytes: whole(of.bytes),
            ci95: [whole(low), whole(high)],
            live_count: whole(of.count),
            sampled: of.sampled,
            first_ns: relative(of.first_ns),
            last_ns: relative(of.last_ns),
            growth: None,
            curve: Vec::new(),
        }
    });
    let paths = paths.collect();
    let [low, high] = all.interval();
    Some(Malloc {
        state: if blocks.begun { MallocState::Sampled } else { MallocState::Bypassed },
        mean_bytes: blocks.mean,
        picked: blocks.picked,
        freed: blocks.freed,
        unkept: blocks.unkept,
        unseen_ends: blocks.unseen_ends,
        live_bytes: whole(all.bytes),
        ci95: [whole(low), whole(high)],
        live_count: whole(all.count),
        sampled: all.sampled,
        since_attach: blocks.since_attach,
        paths,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reproducible stream of numbers in (0, 1).
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    fn sampled(sizes: &[u64], mean: u64, numbers: &mut Numbers) -> Estimate {
        let mut estimate = Estimate::default();
        for &size in sizes {
            let picked = -(-(size as f64) / mean as f64).exp_m1();
            if numbers.next() < picked {
                estimate.add(&Block { size, mean, stack: None, time_ns: 0 });
            }
        }
        estimate
    }

    #[test]
    fn the_estimate_is_right_on_average_and_its_interval_holds() {
        for (many, mean) in [(400, 64 << 10), (5000, 64 << 10), (5000, 512), (60, 512 << 10)] {
            let sizes: Vec<u64> = (0..many).map(|at| [24, 2000, 900, 60_000][at % 4]).collect();
            let truth: u64 = sizes.iter().sum();
            let mut numbers = Numbers(many as u64 + mean);
            let (mut sum, mut within) = (0.0, 0);
            const TRIALS: u32 = 600;
            for _ in 0..TRIALS {
                let estimate = sampled(&sizes, mean, &mut numbers);
                sum += estimate.bytes;
                let [low, high] = estimate.interval();
                within += u32::from((low..=high).contains(&(truth as f64)));
            }
            let average = sum / f64::from(TRIALS) / truth as f64;
            assert!((0.93..1.07).contains(&average), "{many} {mean}: {average}");
            // Nothing picked at all says nothing: no interval holds then.
            let least = if many == 60 { 0.75 } else { 0.93 };
            let share = f64::from(within) / f64::from(TRIALS);
            assert!(share >= least, "{many} {mean}: {share} of the intervals hold");
        }
    }

    #[test]
    fn what_is_picked_for_certain_is_exact() {
        let mut estimate = Estimate::default();
        for size in [1 << 20, 3 << 20] {
            estimate.add(&Block { size, mean: 1, stack: None, time_ns: 0 });
        }
        assert_eq!(estimate.bytes, f64::from(4 << 20));
        assert_eq!(estimate.interval(), [f64::from(4 << 20); 2]);
        assert_eq!(whole(estimate.count), 2);
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        // R: qchisq(c(.025, .975), c(10, 100)).
        for (freedom, z, truth) in [
            (10.0, -Z, 3.246_97),
            (10.0, Z, 20.483_18),
            (100.0, -Z, 74.221_93),
            (100.0, Z, 129.561_2),
        ] {
            let found = chi_squared(freedom, z);
            assert!((found / truth - 1.0).abs() < 0.02, "{freedom} {z}: {found}");
        }
    }

    #[test]
    fn no_number_of_a_recording_is_too_much() {
        let mut estimate = Estimate::default();
        for (size, mean) in [(u64::MAX, 1), (u64::MAX, u64::MAX), (1, u64::MAX), (0, 0), (5, 0)] {
            estimate.add(&Block { size, mean, stack: None, time_ns: 0 });
        }
        let [low, high] = estimate.interval();
        assert!(low <= estimate.bytes && estimate.bytes <= high && high.is_finite());
    }
}
