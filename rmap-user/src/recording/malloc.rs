//! What an allocator's shim reports, as bytes.
//!
//! Comes in: a [`MallocCall`]. Goes out: bytes, and the same from them.

use super::varint::{Bad, Reader, put};
use crate::trace::{MallocCall, MallocStep, StackHash};

/// Writes a call.
pub(super) fn put_call(out: &mut Vec<u8>, call: &MallocCall) {
    let step = MallocStep::ALL.iter().position(|step| *step == call.step).unwrap_or(0);
    out.push(step as u8);
    for number in [call.address, call.size, call.mean, call.stack.map_or(0, |stack| stack.0)] {
        put(out, number);
    }
}

/// Reads one.
pub(super) fn call(from: &mut Reader<'_>) -> Result<MallocCall, Bad> {
    let step = MallocStep::ALL.get(usize::from(from.byte()?)).copied();
    let step = step.ok_or(Bad("a step of an allocator that is not known"))?;
    let (address, size, mean) = (from.number()?, from.number()?, from.number()?);
    let stack = Some(from.number()?).filter(|hash| *hash != 0).map(StackHash);
    Ok(MallocCall { step, address, size, mean, stack })
}
