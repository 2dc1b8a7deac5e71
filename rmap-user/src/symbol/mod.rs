//! Stacks become functions, files and lines.
//!
//! Comes in: [`RawStack`]s (addresses of one process) and the [`ModuleMap`] of their address
//! space. Goes out: [`report::Stack`](crate::report::Stack)s and [`Stats`]. Every distinct place
//! (file and offset) is looked up once, at the end, one file after the other; so processes may
//! have ended and files may be deleted: a [`Binary`] keeps a path and what the file was, and, where
//! the file may go, a copy of what its names need.
//!
//! Whose files these are, nobody knows: headers are read with limits ([`elf`]), names are
//! demangled with limits, a panic of a parser costs the one file its debug information, and a
//! file that changed since it was mapped names nothing. Where no name is sure there is none.
//!
//! * [`module`]: what is mapped where and when, and which file it is;
//! * [`elf`]: ELF headers, build id, and what is fit to be given to blazesym;
//! * `debug_file`: separate debug files in the places where systems have them;
//! * [`folders`]: the same in folders that a person names;
//! * [`parts`]: which bytes of a file serve its names and its unwind table;
//! * `depth`: debug information on which a recursive reader would run out of stack;
//! * [`perf_map`]: names that a program writes for code made at run time;
//! * `resolve`: one file's offsets → frames, through blazesym;
//! * `runtimes`: runs of frames of language runtimes among the others;
//! * `script_names`: V8's names of functions of JavaScript;
//! * `stacks`: many stacks → frames, markers, counts.

pub mod allocator;
mod debug_file;
mod demangle;
mod depth;
pub mod elf;
pub mod folders;
mod go;
mod guard;
pub mod module;
pub mod parts;
pub mod perf_map;
mod probe_place;
mod resolve;
mod runtimes;
mod script_names;
mod stacks;
#[cfg(test)]
mod tests;

pub use debug_file::candidates as debug_files;
pub use folders::{Folders, Sought};
pub use module::{Binary, Module, ModuleMap, Names, Stamp};
pub use perf_map::PerfMap;
pub use resolve::{Resolved, Resolver, SymbolFile, look_up};
pub use stacks::{
    RawStack, Stats, Symbolized, incomplete_marker, symbolize, symbolize_keeping, trampolines_in,
};
