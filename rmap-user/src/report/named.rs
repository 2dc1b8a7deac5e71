//! Names and numbers of the report that are strings in JSON alone.
//!
//! Comes in: a [`Term`], an address, or the string of a file. Goes out: types that compare and
//! order without their text. A name that this version does not know is kept, so that a file of
//! another version is read and written without loss.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::terms::Term;

/// A name of the list `T`, or one of another version.
#[derive(Clone, Debug)]
pub enum Named<T> {
    /// A row of the list.
    Known(T),
    /// A name that this version does not know. It comes from a file: not safe to print as is.
    Other(Box<str>),
}

impl<T: Term> Named<T> {
    /// The name in JSON. Not safe to print as is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(term) => term.name(),
            Self::Other(name) => name,
        }
    }

    /// The row of the list; `None` for a name of another version.
    #[must_use]
    pub const fn known(&self) -> Option<T> {
        match self {
            Self::Known(term) => Some(*term),
            Self::Other(_) => None,
        }
    }

    /// What it means in words; `None` for a name of another version.
    #[must_use]
    pub fn meaning(&self) -> Option<&'static str> {
        self.known().map(Term::meaning)
    }
}

impl<T> From<T> for Named<T> {
    fn from(term: T) -> Self {
        Self::Known(term)
    }
}

impl<T: Term> From<&str> for Named<T> {
    fn from(name: &str) -> Self {
        T::of_name(name).map_or_else(|| Self::Other(name.into()), Self::Known)
    }
}

impl<T: Term> PartialEq for Named<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<T: Term> Eq for Named<T> {}

impl<T: Term> PartialEq<T> for Named<T> {
    fn eq(&self, other: &T) -> bool {
        self.known() == Some(*other)
    }
}

impl<T: Term> Hash for Named<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// By name, as a reader expects it, and not by the order of the list.
impl<T: Term> Ord for Named<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl<T: Term> PartialOrd for Named<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Term> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Term> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&*Text::deserialize(deserializer)?.0))
    }
}

/// A virtual address, or one in a file. In JSON: lower-case hex with `0x`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub u64);

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: give 0x and up to 16 hex digits")]
pub struct NotAnAddress(String);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        digits
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| NotAnAddress(text.to_owned()))
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer)?.0.parse().map_err(D::Error::custom)
    }
}

/// An address that may be missing: an empty string in JSON.
pub(super) mod or_empty {
    use super::{Address, Deserialize, Deserializer, Serializer, Text};
    use serde::de::Error as _;

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub fn serialize<S: Serializer>(
        address: &Option<Address>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str(""),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Address>, D::Error> {
        match &*Text::deserialize(deserializer)?.0 {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}

/// A string that is borrowed from the file where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The id of a stack in one report. In JSON: a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct StackId(pub u32);

impl fmt::Display for StackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Cause;

    #[test]
    fn a_name_of_another_version_is_kept_as_it_is() {
        for (text, known) in [("\"swap-in\"", Some(Cause::SwapIn)), ("\"tele\\u0070ort\"", None)] {
            let cause: Named<Cause> = serde_json::from_str(text).unwrap();
            assert_eq!(cause.known(), known);
            let again: Named<Cause> =
                serde_json::from_str(&serde_json::to_string(&cause).unwrap()).unwrap();
            assert_eq!(again, cause);
        }
        assert_eq!(Named::<Cause>::from("teleport").as_str(), "teleport");
        assert_eq!(Named::<Cause>::from("teleport").meaning(), None);
    }

    #[test]
    fn an_address_is_hex_in_json_alone() {
        let address: Address = serde_json::from_str("\"0xffffffffffffffff\"").unwrap();
        assert_eq!(address, Address(u64::MAX));
        assert_eq!(serde_json::to_string(&Address(0x7f00)).unwrap(), "\"0x7f00\"");
        for wrong in ["", "7f00", "0x", "0x+1", "0xg", "0x10000000000000000"] {
            let error = wrong.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("0x and up to 16 hex digits"), "{error}");
        }
    }
}
