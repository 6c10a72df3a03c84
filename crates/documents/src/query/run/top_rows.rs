//! [`TopRows`]: the first rows of an order, found by a scan of all rows.

use std::mem::size_of;

use serde_json::Value;

use super::super::meter::weight;
use super::limits::HELD_BYTES_MAX;
use super::sort::{RowKey, SortOrder};
use crate::error::RequestFailure;

/// The first rows of a scan. Holds at most twice the number of rows that are needed.
pub(super) struct TopRows<'r> {
    order: SortOrder<'r>,
    pub(super) keep: usize,
    pub(super) keys: Vec<RowKey>,
    bytes: usize,
    /// The last key that remained when others were dropped: rows after it are unknown.
    pub(super) bound: Option<RowKey>,
}

impl<'r> TopRows<'r> {
    pub(super) fn new(order: SortOrder<'r>, keep: usize) -> Self {
        Self { order, keep, keys: Vec::new(), bytes: 0, bound: None }
    }

    pub(super) fn add(&mut self, key: RowKey) -> Result<(), RequestFailure> {
        self.bytes += key_bytes(&key);
        self.keys.push(key);
        if self.keys.len() >= self.keep.saturating_mul(2) || self.bytes > HELD_BYTES_MAX {
            self.trim()?;
        }
        Ok(())
    }

    /// Sorts, and drops rows that are not needed.
    pub(super) fn trim(&mut self) -> Result<(), RequestFailure> {
        self.keys.sort_unstable_by(|one, other| self.order.compare(one, other));
        if self.keys.len() > self.keep {
            self.keys.truncate(self.keep);
            let last = self.keys.last();
            let nearer = |bound: &RowKey| last.is_some_and(|last| self.order.compare(last, bound).is_lt());
            if self.bound.as_ref().is_none_or(nearer) {
                self.bound = last.cloned();
            }
        }
        self.bytes = self.keys.iter().map(key_bytes).sum();
        if self.bytes > HELD_BYTES_MAX / 2 {
            return Err(RequestFailure::bad_request(format!(
                "The sort values of this ORDER BY need more than {} bytes in memory. Request smaller pages, or sort by shorter values.",
                HELD_BYTES_MAX / 2
            )));
        }
        Ok(())
    }
}

fn key_bytes(key: &RowKey) -> usize {
    key.0.iter().map(|value| size_of::<Value>() + value.as_ref().map_or(0, weight)).sum()
}
