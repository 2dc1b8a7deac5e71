//! The measures of a segment and the threads of a process as bytes, since version 4.
//!
//! Comes in: a [`Breakdown`] or [`Thread`]s. Goes out: bytes, and the same from them. What is not
//! known takes no room: a mask says what follows.

use super::varint::{Bad, Reader, put, put_bytes};
use crate::trace::{Breakdown, Measure, Thread};

/// Bits of the mask behind those of the measures: `THPeligible` is known, and its value.
const ELIGIBLE_KNOWN: u64 = 1 << 32;
const ELIGIBLE: u64 = 1 << 33;

pub(super) fn put_breakdown(out: &mut Vec<u8>, breakdown: &Breakdown) {
    let mut mask = match breakdown.thp_eligible() {
        None => 0,
        Some(eligible) => ELIGIBLE_KNOWN | if eligible { ELIGIBLE } else { 0 },
    };
    for (measure, _) in breakdown.iter() {
        mask |= 1 << measure as u64;
    }
    put(out, mask);
    breakdown.iter().for_each(|(_, bytes)| put(out, bytes));
}

pub(super) fn breakdown(from: &mut Reader<'_>) -> Result<Breakdown, Bad> {
    let mask = from.number()?;
    let mut breakdown = Breakdown::default();
    let mut known = ELIGIBLE_KNOWN | ELIGIBLE;
    for measure in Measure::ALL {
        known |= 1 << measure as u64;
        if mask & (1 << measure as u64) != 0 {
            breakdown.set(measure, from.number()?);
        }
    }
    if mask & !known != 0 {
        return Err(Bad("a measure of no known kind"));
    }
    if mask & ELIGIBLE_KNOWN != 0 {
        breakdown.set_thp_eligible(mask & ELIGIBLE != 0);
    }
    Ok(breakdown)
}

pub(super) fn put_threads(out: &mut Vec<u8>, threads: &[Thread]) {
    put(out, threads.len() as u64);
    for thread in threads {
        put(out, thread.tid.into());
        // No stack is at 0.
        put(out, thread.stack_pointer.unwrap_or(0));
        put_bytes(out, thread.name.as_bytes());
    }
}

pub(super) fn threads(from: &mut Reader<'_>) -> Result<Vec<Thread>, Bad> {
    let mut threads = Vec::new();
    for _ in 0..from.count()? {
        let tid = from.small()?;
        let stack_pointer = Some(from.number()?).filter(|pointer| *pointer != 0);
        threads.push(Thread { tid, stack_pointer, name: from.text()? });
    }
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_breakdown() -> impl Strategy<Value = Breakdown> {
        let measures = proptest::collection::vec(any::<Option<u64>>(), Measure::ALL.len());
        (measures, any::<Option<bool>>()).prop_map(|(measures, eligible)| {
            let mut breakdown = Breakdown::default();
            for (measure, bytes) in Measure::ALL.into_iter().zip(measures) {
                if let Some(bytes) = bytes {
                    breakdown.set(measure, bytes);
                }
            }
            if let Some(eligible) = eligible {
                breakdown.set_thp_eligible(eligible);
            }
            breakdown
        })
    }

    proptest! {
        #[test]
        fn any_breakdown_and_thread_comes_back(
            written in any_breakdown(), tid: u32, pointer in 1_u64.., name: String,
        ) {
            let mut out = Vec::new();
            put_breakdown(&mut out, &written);
            prop_assert_eq!(breakdown(&mut Reader(&out)).ok(), Some(written));
            let known = Thread { tid, name, stack_pointer: Some(pointer) };
            let both = [known.clone(), Thread { stack_pointer: None, ..known }];
            let mut out = Vec::new();
            put_threads(&mut out, &both);
            prop_assert_eq!(threads(&mut Reader(&out)).ok(), Some(both.to_vec()));
        }
    }

    #[test]
    fn a_measure_of_the_future_is_refused() {
        let mut out = Vec::new();
        put(&mut out, 1 << 31);
        assert!(breakdown(&mut Reader(&out)).is_err());
    }
}
