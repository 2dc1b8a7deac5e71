//! CPython 3.8 to 3.14.
//!
//! * `layout`: where each version keeps what a walk reads;
//! * `recognise`: an ELF file → its version and addresses, or why it is not read;
//! * `place`: frames → runs, each in place of the evaluation loop that ran it;
//! * `lines`: line tables → lines;
//! * `names`: definitions of code objects → functions, files, lines.

mod layout;
mod lines;
mod names;
mod place;
mod recognise;

pub use layout::Version;
pub use lines::line_at;
pub use names::{Definitions, Named};
pub use place::place;
pub use recognise::{Found, Interpreter, recognise};

/// Takes any bytes as a line table and as a file. For fuzzing: it must not panic.
pub fn fuzz_entry(bytes: &[u8]) {
    lines::fuzz_entry(bytes);
    recognise::fuzz_entry(bytes);
}
