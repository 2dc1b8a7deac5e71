//! The kind of a segment in a file: one that only another version knows is none, and found anew.

use std::borrow::Cow;

use serde::{Deserialize as _, Deserializer, Serializer};

use super::Kind;
use crate::terms::Term as _;

#[expect(clippy::ref_option, reason = "serde calls it so")]
pub(super) fn serialize<S: Serializer>(kind: &Option<Kind>, to: S) -> Result<S::Ok, S::Error> {
    match kind {
        Some(kind) => to.serialize_str(kind.as_str()),
        None => to.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Kind>, D::Error> {
    let name = Option::<Cow<'de, str>>::deserialize(from)?;
    Ok(name.and_then(|name| Kind::of_name(&name)))
}
