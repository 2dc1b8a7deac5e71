//! Walks over real stacks: programs whose truth is known are stopped at a fault or stepped
//! through instruction by instruction, and what `rmap::unwind` finds is compared with what they
//! did and with another unwinder.

mod cases;
mod files;
mod other;
mod stepping;
mod tracee;
