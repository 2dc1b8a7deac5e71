//! A report to be looked at in a terminal: `rmap view` and `rmap top`.
//!
//! Comes in: keys, and reports from whoever has them. Goes out: pictures, and wishes ([`Ask`]) to whoever
//! has the reports. The [`State`] is a pure machine: a key or a report changes it, and [`draw()`] makes a
//! picture of it in any buffer. [`terminal`] alone touches the terminal.
//!
//! * `digest`: a report as rows; `course`: sizes through the session; `rows`: which rows are visible;
//! * `keys`: what a key means, and the help; `state`: what follows;
//! * `draw`, `head`, `table`, `canvas`: the picture.

mod canvas;
pub mod course;
pub mod digest;
pub mod draw;
mod head;
pub mod keys;
mod rows;
pub mod state;
mod table;
pub mod terminal;

pub use draw::draw;
pub use state::{Ask, Mode, Moment, State, Update};
