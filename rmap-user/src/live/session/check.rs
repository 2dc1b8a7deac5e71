//! Stacks that the kernel side walked, beside what they were walked from, for a test that has
//! another unwinder.
//!
//! Comes in: walked stacks, and raw ones of the same names. Goes out: both together, as a
//! [`Checked`], with the code that the process had mapped.

use std::collections::HashMap;

use crate::{
    symbol::ModuleMap,
    trace::{RawStack, Stack, StackHash},
};

/// Who looks at the pairs.
pub type Check = Box<dyn FnMut(&Checked<'_>)>;

/// One stack of one event.
#[derive(Debug)]
pub struct Checked<'a> {
    /// The process.
    pub pid: u32,
    /// As it was walked in the kernel.
    pub walked: &'a Stack,
    /// What it was walked from.
    pub raw: &'a RawStack,
    /// The code of the process.
    pub modules: &'a ModuleMap,
}

/// What is waiting for its other half.
pub(super) struct Checking {
    check: Check,
    walked: HashMap<StackHash, Stack>,
    /// The raw stack comes before the first walked one of its name.
    waiting: HashMap<StackHash, (u32, RawStack)>,
}

impl Checking {
    pub(super) fn new(check: Check) -> Self {
        Self { check, walked: HashMap::new(), waiting: HashMap::new() }
    }

    /// A walked stack has come; returns the process of the raw one that waited for it.
    pub(super) fn walked(&mut self, stack: &Stack) -> Option<(u32, RawStack)> {
        self.walked.insert(stack.hash, stack.clone());
        self.waiting.remove(&stack.hash)
    }

    /// A raw stack has come, or what it waited for.
    pub(super) fn raw(&mut self, pid: u32, raw: RawStack, modules: &ModuleMap) {
        match self.walked.get(&raw.hash) {
            Some(walked) => (self.check)(&Checked { pid, walked, raw: &raw, modules }),
            None => {
                self.waiting.insert(raw.hash, (pid, raw));
            }
        }
    }
}
