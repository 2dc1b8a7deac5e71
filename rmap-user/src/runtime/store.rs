//! What a session knows of the runtimes of its processes.
//!
//! Comes in: the parts of events that are of a runtime, in their order. Goes out: stacks that are
//! joined with the user stack that they belong to, and at the end the definitions of their code.

use std::collections::HashMap;
use std::sync::Arc;

use super::python::{Definitions, place};
use crate::trace::{PythonEnd, Run, Runtime, StackHash};

/// All that came so far.
#[derive(Clone, Debug, Default)]
pub struct Runtimes {
    definitions: Arc<Definitions>,
    /// Where the frames of each user stack lie.
    offsets: HashMap<StackHash, Box<[u32]>>,
}

/// Frames of a runtime that belong to a user stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The name of both together.
    pub hash: StackHash,
    /// The user stack.
    pub native: StackHash,
    /// The frames.
    pub runs: Vec<Run>,
    /// There are more that were not read.
    pub cut: bool,
}

impl Runtimes {
    /// Takes a part of an event; gives frames that are to be joined with a user stack.
    pub fn take(&mut self, runtime: &Runtime) -> Option<Joined> {
        match runtime {
            Runtime::Pointers(pointers) => {
                self.offsets.insert(pointers.stack, pointers.offsets.clone().into_boxed_slice());
            }
            Runtime::Code(code) => Arc::make_mut(&mut self.definitions).code(code),
            Runtime::Table(table) => Arc::make_mut(&mut self.definitions).table(table),
            Runtime::Stack(stack) => {
                let offsets = self.offsets.get(&stack.native).map_or(&[][..], |offsets| offsets);
                return Some(Joined {
                    hash: stack.hash,
                    native: stack.native,
                    runs: place(&stack.frames, offsets),
                    cut: stack.end != PythonEnd::Complete,
                });
            }
        }
        None
    }

    /// What frames are called.
    #[must_use]
    pub fn definitions(&self) -> Arc<Definitions> {
        Arc::clone(&self.definitions)
    }
}
