//! [`SortOrder`]: the order of rows by ORDER BY.

use std::cmp::Ordering;

use serde_json::Value;

use super::super::ast::SortKey;
use super::super::order::compare;

/// The sort values of a row, and its number.
pub(super) type RowKey = (Vec<Option<Value>>, u64);

/// The order of rows by ORDER BY, then by number.
#[derive(Clone, Copy)]
pub(super) struct SortOrder<'q>(pub(super) &'q [SortKey]);

impl SortOrder<'_> {
    pub(super) fn compare(self, one: &RowKey, other: &RowKey) -> Ordering {
        let pairs = one.0.iter().zip(&other.0).zip(self.0);
        let first_difference = pairs
            .map(|((one, other), key)| {
                let order = compare(one.as_ref(), other.as_ref());
                if key.descending { order.reverse() } else { order }
            })
            .find(|order| order.is_ne());
        first_difference.unwrap_or_else(|| one.1.cmp(&other.1))
    }
}
