//! The frames of a stack.
//!
//! Every process of a program has the same stacks at other addresses: their frames are there once, and
//! whoever clones them has the same ones. In JSON: a list.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Frame;

/// Frames from the innermost outwards, shared by all that have the same.
#[derive(Clone, Debug, Eq)]
pub struct Frames(Arc<[Frame]>);

impl Frames {
    /// Where they lie: the same for those that were cloned from each other.
    #[must_use]
    pub fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The same without the innermost one.
    #[must_use]
    pub fn without_first(&self) -> Vec<Frame> {
        self.0.get(1..).unwrap_or_default().to_vec()
    }
}

impl Default for Frames {
    fn default() -> Self {
        static NONE: LazyLock<Arc<[Frame]>> = LazyLock::new(|| Arc::from([]));
        Self(Arc::clone(&NONE))
    }
}

impl Deref for Frames {
    type Target = [Frame];

    fn deref(&self) -> &[Frame] {
        &self.0
    }
}

impl From<Vec<Frame>> for Frames {
    fn from(frames: Vec<Frame>) -> Self {
        Self(frames.into())
    }
}

impl FromIterator<Frame> for Frames {
    fn from_iter<I: IntoIterator<Item = Frame>>(frames: I) -> Self {
        Self(frames.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Frames {
    type Item = &'a Frame;
    type IntoIter = std::slice::Iter<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl PartialEq for Frames {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Hash for Frames {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Serialize for Frames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Frames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}
