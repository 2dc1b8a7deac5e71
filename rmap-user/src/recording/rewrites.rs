//! Steps of watching memory as bytes.
//!
//! Comes in: a [`RewriteStep`]; or bytes. Goes out: the bytes; or the same step. Ranges are whole
//! pages, in the order of their addresses: each is two numbers of pages, the gap before it and its
//! size.

use std::ops::Range;

use super::varint::{Bad, Reader, put, put_signed};
use crate::trace::RewriteStep;

const BEGIN: u8 = 0;
const WATCHED: u8 = 1;
const WRITTEN: u8 = 2;
const PRESENT: u8 = 3;
const ARMED: u8 = 4;
const END: u8 = 5;

const PAGE: u64 = 4096;

pub(super) fn put_step(out: &mut Vec<u8>, step: &RewriteStep) {
    match step {
        RewriteStep::Begin { exact, period_ns, stood_ns } => {
            out.extend([BEGIN, u8::from(*exact)]);
            put(out, *period_ns);
            put(out, *stood_ns);
        }
        RewriteStep::Watched(ranges) => put_ranges(out, WATCHED, ranges),
        RewriteStep::Written(ranges) => put_ranges(out, WRITTEN, ranges),
        RewriteStep::Present(ranges) => put_ranges(out, PRESENT, ranges),
        RewriteStep::Armed(pages) => {
            out.push(ARMED);
            put(out, pages.len() as u64);
            let mut last = 0;
            for page in pages {
                put_signed(out, (page / PAGE).wrapping_sub(last).cast_signed());
                last = page / PAGE;
            }
        }
        RewriteStep::End => out.push(END),
    }
}

fn put_ranges(out: &mut Vec<u8>, kind: u8, ranges: &[Range<u64>]) {
    out.push(kind);
    put(out, ranges.len() as u64);
    let mut last = 0;
    for range in ranges {
        put(out, (range.start / PAGE).wrapping_sub(last));
        last = range.end / PAGE;
        put(out, last.wrapping_sub(range.start / PAGE));
    }
}

pub(super) fn step(from: &mut Reader<'_>) -> Result<RewriteStep, Bad> {
    Ok(match from.byte()? {
        BEGIN => RewriteStep::Begin {
            exact: from.byte()? != 0,
            period_ns: from.number()?,
            stood_ns: from.number()?,
        },
        WATCHED => RewriteStep::Watched(ranges(from)?),
        WRITTEN => RewriteStep::Written(ranges(from)?),
        PRESENT => RewriteStep::Present(ranges(from)?),
        ARMED => {
            let mut pages = Vec::new();
            let mut last = 0_u64;
            for _ in 0..from.count()? {
                last = last.wrapping_add_signed(from.signed()?);
                pages.push(bytes(last)?);
            }
            RewriteStep::Armed(pages)
        }
        END => RewriteStep::End,
        _ => return Err(Bad("a step of no known kind")),
    })
}

fn ranges(from: &mut Reader<'_>) -> Result<Vec<Range<u64>>, Bad> {
    let mut ranges = Vec::new();
    let mut last = 0_u64;
    for _ in 0..from.count()? {
        let start = last.checked_add(from.number()?).ok_or(BEYOND)?;
        last = start.checked_add(from.number()?).ok_or(BEYOND)?;
        ranges.push(bytes(start)?..bytes(last)?);
    }
    Ok(ranges)
}

const BEYOND: Bad = Bad("a range beyond the last address");

fn bytes(pages: u64) -> Result<u64, Bad> {
    pages.checked_mul(PAGE).ok_or(BEYOND)
}
