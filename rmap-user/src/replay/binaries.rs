//! Files with code by a recording's word: they are on another machine, and their names come with the
//! recording.
//!
//! Comes in: mappings that name their file by number, and frames of names. Goes out: the files, named
//! as soon as all inputs are read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::recording::names;
use crate::recording::varint::Bad;
use crate::session::Binaries;
use crate::symbol::{Binary, Names};
use crate::trace::Code;

/// The files of a recording.
#[derive(Default)]
pub(super) struct Recorded {
    files: HashMap<u32, Arc<Binary>>,
    names: HashMap<u32, Names>,
}

/// The same, for the session and for whoever reads the recording.
#[derive(Clone, Default)]
pub(super) struct Shared(Rc<RefCell<Recorded>>);

impl Shared {
    /// Takes the names of one frame.
    pub(super) fn add_names(&self, payload: &[u8]) -> Result<(), Bad> {
        names::decode(payload, &mut self.0.borrow_mut().names)
    }

    /// Gives every file its names. What comes later has none.
    pub(super) fn name_all(&self) {
        let Recorded { files, names } = &mut *self.0.borrow_mut();
        for (number, names) in names.drain() {
            if let Some(binary) = files.get(&number) {
                // Nobody has set them before.
                let _ = binary.names.set(names);
            }
        }
    }
}

impl Binaries for Shared {
    fn binary(&mut self, code: &Code) -> Option<Arc<Binary>> {
        let Recorded { files, names } = &mut *self.0.borrow_mut();
        let number = code.file?;
        if let Some(bias) = code.bias {
            let size = code.end.saturating_sub(code.start);
            let offsets = code.offset..code.offset.saturating_add(size);
            names.entry(number).or_default().add_bias(offsets, bias);
        }
        let new =
            || Arc::new(Binary::without_file(code.build_id.clone(), "it is on another machine"));
        Some(Arc::clone(files.entry(number).or_insert_with(new)))
    }
}
