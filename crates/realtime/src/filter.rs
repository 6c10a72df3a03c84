//! [`Filter`]: selects connections for a REST request by an OData expression such as `userId eq 'ada' and 'g' in groups`. Pure.
//!
//! The language is that of the vendor's real-time services: the names `userId`, `connectionId` and `groups`,
//! comparisons, `in`, `and`, `or`, `not`, and the string functions. Parsing checks the types, so that evaluation cannot fail; the length,
//! the depth and the number of parts are limited.
//! `null` follows OData 4.01, URL conventions, section 5.1.1: a missing user is `null`; a function of `null` is `null`, and so is
//! its negation; `null` matches no connection.
//! so is its negation; `null` matches no connection.

mod error;
mod evaluate;
mod expression;
mod lex;
mod parse;

pub(crate) use error::FilterError;
use expression::Condition;
pub(crate) use expression::FilteredConnection;

/// Longest filter, in bytes. A URL has at most 12 KB.
const BYTES_MAX: usize = 8 * 1024;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter(Condition);

impl Filter {
    /// Parses a filter.
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > BYTES_MAX {
            let what = format!("it has {} bytes, more than the {BYTES_MAX} allowed", text.len());
            return Err(FilterError { position: 1, what });
        }
        parse::filter(text).map(Self)
    }

    /// Whether the filter matches a connection.
    pub(crate) fn matches(&self, connection: FilteredConnection<'_>) -> bool {
        self.0.holds(connection) == Some(true)
    }
}

#[cfg(test)]
mod tests;
