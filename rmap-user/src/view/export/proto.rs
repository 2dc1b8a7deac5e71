//! Protocol buffers as they are written (<https://protobuf.dev/programming-guides/encoding/>).

/// A message under way.
#[derive(Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// A number as groups of seven bits, the lowest first.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A field of wire type 0.
    pub fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    /// A field of wire type 2.
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Numbers in one field.
    pub fn packed(&mut self, field: u64, values: impl IntoIterator<Item = u64>) {
        let mut inner = Self::default();
        values.into_iter().for_each(|value| inner.varint(value));
        self.bytes(field, &inner.0);
    }

    /// A message in a field.
    pub fn message(&mut self, field: u64, inner: &Self) {
        self.bytes(field, &inner.0);
    }
}
