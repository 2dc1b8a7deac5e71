//! The order of lists, and how many of their rows are shown: one meaning for every view.
//!
//! Comes in: rows, and functions that tell what they are ordered by. Goes out: the rows in order.
//! A list that lacks what is asked for (code paths have no address) keeps the usual order.

use std::cmp::Reverse;

/// What stands first in every list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The most RSS and Dirty together; of differences, the largest change.
    #[default]
    Total,
    /// The most RSS.
    Rss,
    /// The most Dirty.
    Dirty,
    /// What grew most since the start of the session, RSS and Dirty together. What a code path
    /// holds it has added since then.
    Growth,
    /// The lowest address.
    Address,
    /// By name.
    Name,
}

/// The order and the number of rows that were asked for, where a view has an order of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// `None`: the view's own order.
    pub sort: Option<Sort>,
    /// Rows before the rest is summed up in one; `None`: all.
    pub top: Option<usize>,
}

/// What the rows of one list are ordered by. Sizes are bytes.
pub struct Keys<'a, T> {
    /// For [`Sort::Total`].
    pub total: &'a dyn Fn(&T) -> i128,
    /// For [`Sort::Rss`].
    pub rss: &'a dyn Fn(&T) -> i128,
    /// For [`Sort::Dirty`].
    pub dirty: &'a dyn Fn(&T) -> i128,
    /// For [`Sort::Growth`].
    pub growth: &'a dyn Fn(&T) -> i128,
    /// For [`Sort::Address`]; `None`: they have none.
    pub address: Option<&'a dyn Fn(&T) -> u64>,
    /// For [`Sort::Name`].
    pub name: &'a dyn Fn(&T) -> String,
}

impl Sort {
    /// Puts rows in order. Those that are equal in it stay in the order that they came in.
    pub fn order<T>(self, rows: &mut [T], keys: &Keys<'_, T>) {
        let size = match self {
            Self::Name => return rows.sort_by_cached_key(keys.name),
            Self::Address => match keys.address {
                Some(address) => return rows.sort_by_cached_key(address),
                None => keys.total,
            },
            Self::Total => keys.total,
            Self::Rss => keys.rss,
            Self::Dirty => keys.dirty,
            Self::Growth => keys.growth,
        };
        rows.sort_by_cached_key(|row| Reverse(size(row)));
    }

    /// How a heading tells the order of a list; `has_addresses`: whether it can be by address.
    #[must_use]
    pub const fn words(self, has_addresses: bool) -> &'static str {
        match self {
            Self::Address if has_addresses => "by address",
            Self::Total | Self::Address => "the largest first",
            Self::Rss => "by RSS",
            Self::Dirty => "by Dirty",
            Self::Growth => "by growth",
            Self::Name => "by name",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row(&'static str, i128, i128, i128, u64);

    fn order(sort: Sort, with_addresses: bool) -> String {
        let mut rows = [Row("c", 5, 1, 9, 3), Row("a", 3, 3, -1, 1), Row("b", 1, 5, 4, 2)];
        let keys = Keys {
            total: &|row: &Row| row.1 + row.2,
            rss: &|row| row.1,
            dirty: &|row| row.2,
            growth: &|row| row.3,
            address: with_addresses.then_some(&|row| row.4),
            name: &|row| row.0.to_owned(),
        };
        sort.order(&mut rows, &keys);
        rows.iter().map(|row| row.0).collect()
    }

    #[test]
    fn each_key_is_its_own_order() {
        // The totals are equal: they stay as they came.
        assert_eq!(order(Sort::Total, true), "cab");
        assert_eq!(order(Sort::Rss, true), "cab");
        assert_eq!(order(Sort::Dirty, true), "bac");
        assert_eq!(order(Sort::Growth, true), "cba");
        assert_eq!(order(Sort::Address, true), "abc");
        assert_eq!(order(Sort::Name, true), "abc");
        assert_eq!(order(Sort::Address, false), "cab");
        assert_eq!(Sort::Address.words(false), "the largest first");
    }
}
