//! Answers: who holds the memory of a [`Report`](crate::report::Report), in the reader's own
//! names.
//!
//! Comes in: a report, and rules for frames. Goes out: the class of each frame ([`rules`]), the
//! owner frame of each call path ([`owner`]), the bytes of a report in groups ([`group`]) and as
//! a tree ([`tree`]), who holds more and more ([`growth`]), and what its segments are ([`naming`]). Pure: it opens no file and changes
//! no figure. Every grouping adds up to the
//! report's own totals, residuals included.

pub mod advice;
pub mod group;
pub mod growth;
pub mod heap;
pub mod json;
pub mod kind;
pub mod malloc;
pub mod names;
pub mod naming;
pub mod owner;
pub mod part;
pub mod processes;
pub mod rewrites;
pub mod rules;
#[cfg(test)]
mod samples;
pub mod tree;
pub mod unnamed;

pub use advice::Advice;
pub use group::{By, Group, Label};
pub use owner::Owners;
pub use part::{Bytes, Part, Parts};
pub use rules::{Class, Rules};
