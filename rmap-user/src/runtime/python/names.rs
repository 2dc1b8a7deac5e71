//! Definitions of code objects, as the kernel side sent them, and what frames are called by them.
//!
//! Comes in: definitions and pieces of line tables, in any order. Goes out: for a frame its function,
//! file and line.

use std::collections::HashMap;

use super::lines::line_at;
use crate::trace::{CodeId, PythonCode, PythonTable};

/// All code objects of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    by_id: HashMap<CodeId, Definition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Definition {
    code: PythonCode,
    /// Bytes of the table that are there, from its start on.
    whole: usize,
}

/// What a Python frame is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The qualified name: `Class.method`, `outer.<locals>.inner`, `<module>`, `<lambda>`.
    pub function: Option<String>,
    /// As in `co_filename`.
    pub file: Option<String>,
    /// The line that it runs.
    pub line: Option<u32>,
}

impl Definitions {
    /// Takes a definition; one that came before stays.
    pub fn code(&mut self, code: &PythonCode) {
        let whole = code.table.len();
        self.by_id.entry(code.id).or_insert_with(|| Definition { code: code.clone(), whole });
    }

    /// Takes a further piece of a line table. One that does not follow what is there is left out.
    pub fn table(&mut self, piece: &PythonTable) {
        let Some(known) = self.by_id.get_mut(&piece.code) else { return };
        if piece.at as usize == known.whole {
            known.code.table.extend_from_slice(&piece.bytes);
            known.whole = known.code.table.len();
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The minor version of the CPython that runs a code object.
    #[must_use]
    pub fn minor(&self, code: CodeId) -> Option<u8> {
        self.by_id.get(&code).map(|known| known.code.minor)
    }

    /// What the frame of a code object at an instruction is called; nothing where its definition was
    /// lost.
    #[must_use]
    pub fn name(&self, code: CodeId, at: i32) -> Named {
        let Some(Definition { code, .. }) = self.by_id.get(&code) else { return Named::default() };
        Named {
            function: code.name.clone(),
            file: code.file.clone(),
            line: line_at(code.minor, &code.table, code.line, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_long_table_are_put_together() {
        let mut all = Definitions::default();
        let id = CodeId(7);
        // 3.10: one line each four bytes.
        let table: Vec<u8> = [4, 1].repeat(10);
        let name = Some("C.f".to_owned());
        all.code(&PythonCode {
            id,
            minor: 10,
            line: 20,
            name: name.clone(),
            file: None,
            table: table[..8].to_vec(),
        });
        assert_eq!(all.name(id, 39).line, None, "its piece is not there yet");
        all.table(&PythonTable { code: id, at: 12, bytes: vec![9, 9] });
        all.table(&PythonTable { code: id, at: 8, bytes: table[8..].to_vec() });
        assert_eq!(all.name(id, 39), Named { function: name, file: None, line: Some(30) });
        assert_eq!(all.name(CodeId(8), 0), Named::default());
        assert_eq!(all.len(), 1);
    }
}
