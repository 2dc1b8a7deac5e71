//! Bytes that no call path explains, summed by reason.

pub use crate::terms::Reason;
use crate::terms::Term;

/// Bytes by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Residuals {
    bytes: [(i64, i64); <Reason as Term>::ALL.len()],
}

impl Residuals {
    /// Adds bytes of RSS.
    pub fn rss(&mut self, reason: Reason, bytes: i64) {
        self.bytes[reason as usize].0 += bytes;
    }

    /// Adds bytes of Dirty.
    pub fn dirty(&mut self, reason: Reason, bytes: i64) {
        self.bytes[reason as usize].1 += bytes;
    }

    /// Those that are not 0: reason, bytes of RSS, bytes of Dirty.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, i64, i64)> {
        Reason::ALL
            .iter()
            .copied()
            .zip(self.bytes)
            .map(|(reason, (rss, dirty))| (reason, rss, dirty))
            .filter(|(_, rss, dirty)| *rss != 0 || *dirty != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place() {
        for (at, reason) in Reason::ALL.iter().copied().enumerate() {
            assert_eq!(reason as usize, at, "{}", reason.as_str());
        }
    }
}
