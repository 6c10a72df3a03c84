//! [`Best`]: the first rows of an order, found by looking at all of them.

use std::mem::size_of;

use serde_json::Value;

use super::super::meter::weight;
use super::{HELD_BYTES_MAX, Key, Run};
use crate::error::Failure;

/// The best rows of a scan, which holds at most twice as many as are wanted at a time.
pub(super) struct Best<'r> {
    run: &'r Run<'r>,
    pub(super) keep: usize,
    pub(super) keys: Vec<Key>,
    bytes: usize,
    /// The last key that was kept when others were dropped: what comes behind it is not known.
    pub(super) bound: Option<Key>,
}

impl<'r> Best<'r> {
    pub(super) fn new(run: &'r Run<'r>, keep: usize) -> Self {
        Self { run, keep, keys: Vec::new(), bytes: 0, bound: None }
    }

    pub(super) fn add(&mut self, key: Key) -> Result<(), Failure> {
        self.bytes += key_bytes(&key);
        self.keys.push(key);
        if self.keys.len() >= self.keep.saturating_mul(2) || self.bytes > HELD_BYTES_MAX {
            self.trim()?;
        }
        Ok(())
    }

    /// Sorts, and drops what is too much.
    pub(super) fn trim(&mut self) -> Result<(), Failure> {
        self.keys.sort_unstable_by(|one, other| self.run.in_order(one, other));
        if self.keys.len() > self.keep {
            self.keys.truncate(self.keep);
            let last = self.keys.last();
            let nearer = |bound: &Key| last.is_some_and(|last| self.run.in_order(last, bound).is_lt());
            if self.bound.as_ref().is_none_or(nearer) {
                self.bound = last.cloned();
            }
        }
        self.bytes = self.keys.iter().map(key_bytes).sum();
        if self.bytes > HELD_BYTES_MAX / 2 {
            return Err(Failure::bad_request(format!(
                "The sort values of this ORDER BY need more than {} bytes in memory. Ask for smaller pages, or sort by shorter values.",
                HELD_BYTES_MAX / 2
            )));
        }
        Ok(())
    }
}

fn key_bytes(key: &Key) -> usize {
    key.0.iter().map(|value| size_of::<Value>() + value.as_ref().map_or(0, weight)).sum()
}
