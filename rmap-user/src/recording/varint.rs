//! Numbers as bytes: LEB128, signed ones folded (zigzag) first.
//!
//! Comes in: numbers, or bytes from outside. Goes out: bytes, or numbers; a [`Bad`] where the
//! bytes end or hold no number.

/// The bytes are no number, or there are none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub &'static str);

pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, fold(value));
}

const fn fold(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unfold(folded: u64) -> i64 {
    (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed()
}

/// 0 for none, else the folded number and 1. The one number that this leaves no room for is none.
pub(crate) fn put_signed_option(out: &mut Vec<u8>, value: Option<i64>) {
    put(out, value.map_or(0, |value| fold(value).wrapping_add(1)));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Bad> {
        let (first, rest) = self.0.split_first().ok_or(Bad("it ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Bad> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Bad("a number is too large"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Bad> {
        Ok(unfold(self.number()?))
    }

    pub(crate) fn signed_option(&mut self) -> Result<Option<i64>, Bad> {
        Ok(self.number()?.checked_sub(1).map(unfold))
    }

    pub(crate) fn small(&mut self) -> Result<u32, Bad> {
        u32::try_from(self.number()?).map_err(|_| Bad("a number is too large"))
    }

    pub(crate) fn small_signed(&mut self) -> Result<i32, Bad> {
        i32::try_from(self.signed()?).map_err(|_| Bad("a number is too large"))
    }

    /// How many things follow, each of at least one byte: never more than there are bytes.
    pub(crate) fn count(&mut self) -> Result<usize, Bad> {
        let count = self.number()?;
        if count > self.0.len() as u64 {
            return Err(Bad("a count is larger than what follows"));
        }
        Ok(count as usize)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Bad> {
        let count = self.count()?;
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self) -> Result<String, Bad> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| Bad("a name is no UTF-8"))?;
        Ok(text.to_owned())
    }
}
