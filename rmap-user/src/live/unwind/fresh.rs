//! Tables that were made and are not in the kernel yet.
//!
//! Comes in: the table of a file, from whoever had it read. Goes out: the same, once, to whoever puts
//! it into the maps. A file is known by the address of its entry, which whoever puts a table here
//! keeps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::symbol::Binary;
use crate::unwind::table::Table;

/// The tables; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Fresh(Arc<Mutex<HashMap<usize, Table>>>);

impl Fresh {
    /// Leaves the table of a file.
    pub fn put(&self, binary: &Arc<Binary>, table: Table) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.insert(key(binary), table);
    }

    /// Takes the table of a file.
    #[must_use]
    pub fn take(&self, binary: &Arc<Binary>) -> Option<Table> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.remove(&key(binary))
    }
}

fn key(binary: &Arc<Binary>) -> usize {
    Arc::as_ptr(binary).addr()
}
