//! `rmap view` and `rmap top` on a pseudo-terminal, read by a terminal's model: what a person sees, and
//! that terminal and target are afterwards as they were.

#![expect(clippy::unwrap_used, reason = "a failed expectation is the message")]

mod glass;
mod top;
mod view;
