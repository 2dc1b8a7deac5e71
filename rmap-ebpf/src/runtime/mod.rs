//! Language runtimes: whose functions a thread runs, where that is not in the machine's stack.
//!
//! Each runtime is a folder with the same item, and one of the same name on the other side
//! (`rmap-user/src/runtime`). `join` comes in after the walk of the user stack, with that stack's
//! hash; it returns the hash of both together, or the same hash where the runtime has nothing to
//! add. A process that does not run it pays one look at its configuration.

pub mod python;
