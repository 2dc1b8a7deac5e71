//! The wire records that the probes put into the ring buffer, and the indices of their maps.
//!
//! Every record starts with a [`Header`]; `kind` says which struct it is. All numbers are in the
//! machine's own byte order, because the ring buffer never leaves the machine; the recording has
//! a format of its own. Kinds are integers and never enums: a kind that user space does not know
//! is counted, not trusted. Sizes are asserted at compile time.

mod counter;
mod loss;
mod malloc;
mod python;
mod record;
mod unwind;

pub use counter::*;
pub use loss::*;
pub use malloc::*;
pub use python::*;
pub use record::*;
pub use unwind::*;
