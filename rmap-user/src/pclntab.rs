//! The table of functions that Go's linker puts into every program (`.gopclntab`), and which is
//! there in a stripped one too, because the runtime itself needs it.
//!
//! Comes in: the section's bytes and where the program's code is. Goes out: functions with names,
//! and how far each of their instructions has moved the stack pointer. Go 1.18 and later; sources:
//! Go's `internal/abi/symtab.go`, `runtime/symtab.go` and `debug/gosym/pclntab.go`. Every offset is
//! checked: what does not fit is no function.

use std::ops::Range;

/// `go118magic` and `go120magic`.
const MAGIC_18: u32 = 0xffff_fff0;
const MAGIC_20: u32 = 0xffff_fff1;
/// A function that every program has, and the beginning of its code: `nop`, then a call.
const KNOWN: &str = "runtime.goexit";
const KNOWN_CODE: [u8; 2] = [0x90, 0xe8];
/// Most functions that are looked at.
const MAX_FUNCTIONS: usize = 1 << 19;
/// Longest name that is taken, in bytes.
const MAX_NAME: usize = 1024;
/// Most changes of the stack pointer in one function.
const MAX_CHANGES: usize = 1 << 12;

/// `funcFlag_TOPFRAME`: nobody called it.
const TOP_FRAME: u8 = 1;
/// `funcFlag_SPWRITE`: it goes over to another stack.
const WRITES_SP: u8 = 2;

/// A table that can be read.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Where the addresses count from, before relocation.
    text: u64,
    count: usize,
    names: &'a [u8],
    changes: &'a [u8],
    functions: &'a [u8],
    newer: bool,
}

/// A function of it.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// Its first byte, before relocation.
    pub start: u64,
    /// Where the next one begins.
    pub end: u64,
    /// Its name, with its package.
    pub name: &'a str,
    /// Nobody called it: Go's own tracebacks end there.
    pub is_outermost: bool,
    /// It goes over to another stack, of which [`Function::depths`] knows nothing.
    pub leaves_its_stack: bool,
    changes: Option<&'a [u8]>,
}

impl<'a> Table<'a> {
    /// Reads the header. `code` gives the first bytes of code at an address before relocation, if
    /// there is code; `first` is the address of the section `.text`, from which addresses count if
    /// the header does not say (it needs relocation, or is newer). That they are those of this code
    /// is seen where the bytes of one function are known.
    #[must_use]
    pub fn parse(
        bytes: &'a [u8],
        first: u64,
        code: impl Fn(u64) -> Option<[u8; 2]>,
    ) -> Option<Self> {
        let magic = u32::from_le_bytes(word(bytes, 0)?);
        // Zeros, the size of the smallest instruction, the size of a pointer.
        if !matches!(magic, MAGIC_18 | MAGIC_20) || bytes.get(4..8)? != [0, 0, 1, 8] {
            return None;
        }
        let number = |at| Some(u64::from_le_bytes(word(bytes, at)?));
        let part = |at| bytes.get(usize::try_from(number(at)?).ok()?..);
        let said = number(24)?;
        let table = Self {
            text: if code(said).is_some() { said } else { first },
            count: usize::try_from(number(8)?).ok()?.min(MAX_FUNCTIONS),
            names: part(32)?,
            changes: part(56)?,
            functions: part(64)?,
            newer: magic == MAGIC_20,
        };
        let known = table.functions().find(|function| function.is_named(KNOWN))?;
        (code(known.start)? == KNOWN_CODE).then_some(table)
    }

    /// How many functions there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn entry(&self, number: usize) -> Option<u64> {
        let offset = u32::from_le_bytes(word(self.functions, number.checked_mul(8)?)?);
        self.text.checked_add(u64::from(offset))
    }

    /// A function by its number; they are in the order of their addresses.
    #[must_use]
    pub fn function(&self, number: usize) -> Option<Function<'a>> {
        if number >= self.count {
            return None;
        }
        let (start, end) = (self.entry(number)?, self.entry(number + 1)?);
        let at = u32::from_le_bytes(word(self.functions, number * 8 + 4)?) as usize;
        let data = self.functions.get(at..)?;
        let name = u32::from_le_bytes(word(data, 4)?) as usize;
        let changes = u32::from_le_bytes(word(data, 16)?) as usize;
        // Behind ten words, or nine: its kind, then its flags.
        let flags = *data.get(if self.newer { 41 } else { 37 })?;
        let name = self.names.get(name..)?;
        let name = name.get(..name.len().min(MAX_NAME))?;
        let name = name.get(..name.iter().position(|&byte| byte == 0)?)?;
        (start < end).then_some(Function {
            start,
            end,
            name: std::str::from_utf8(name).ok()?,
            is_outermost: flags & TOP_FRAME != 0,
            leaves_its_stack: flags & WRITES_SP != 0,
            // 0: there is no table.
            changes: self.changes.get(changes..).filter(|_| changes != 0),
        })
    }

    /// All functions that can be read.
    pub fn functions(&self) -> impl Iterator<Item = Function<'a>> {
        (0..self.count).filter_map(|number| self.function(number))
    }

    /// The function at an address before relocation.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<Function<'a>> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)? <= address { low = middle + 1 } else { high = middle }
        }
        self.function(low.checked_sub(1)?).filter(|function| address < function.end)
    }
}

impl Function<'_> {
    /// Whether it has this name. Functions in assembly have their calling convention behind it.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.strip_suffix(".abi0").unwrap_or(self.name) == name
    }

    /// The same function, cut off at an address.
    #[must_use]
    pub fn until(self, end: u64) -> Self {
        Self { end: end.min(self.end), ..self }
    }

    /// How many bytes the stack has grown since the function was entered, by ranges of addresses;
    /// `None` if the table does not say it for all of the function.
    #[must_use]
    pub fn depths(&self) -> Option<Vec<(Range<u64>, i64)>> {
        let mut rest = self.changes?;
        let mut depths = Vec::new();
        let (mut at, mut depth) = (self.start, -1_i64);
        while at < self.end {
            let change = varint(&mut rest)?;
            if (change == 0 && !depths.is_empty()) || depths.len() >= MAX_CHANGES {
                break;
            }
            // The lowest bit is the sign.
            depth += i64::from(change >> 1) ^ -i64::from(change & 1);
            let end = at.checked_add(u64::from(varint(&mut rest)?))?;
            if end <= at {
                return None;
            }
            depths.push((at..end.min(self.end), depth));
            at = end;
        }
        (!depths.is_empty()).then_some(depths)
    }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..32).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes any bytes as a table. For fuzzing: it must not panic.
pub fn fuzz_entry(bytes: &[u8]) {
    let Some(table) = Table::parse(bytes, 0x1000, |_| Some(KNOWN_CODE)) else { return };
    for function in table.functions().take(1 << 10) {
        let _ = function.depths();
        let _ = table.at(function.start);
    }
}

#[cfg(test)]
mod tests;
