//! [`FilterError`]: why a text is not a valid filter, and where.

use std::fmt;

/// Why a text is not a valid filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilterError {
    /// The position of the error, in characters, counted from 1.
    pub(super) position: usize,
    pub(super) what: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the filter at character {}: {}", self.position, self.what)
    }
}
