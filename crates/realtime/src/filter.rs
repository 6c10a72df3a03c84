//! [`Filter`]: which connections a REST caller means, as an OData expression such as `userId eq 'ada' and 'g' in groups`. Pure.
//!
//! The language is the one that the vendor documents for its real-time services: the names `userId`, `connectionId` and `groups`,
//! comparisons, `in`, `and`, `or`, `not`, and the string functions. Reading a filter checks its types, so that evaluating
//! one cannot fail; what is read is bounded in length, depth and number of parts.
//!
//! `null` follows OData 4.01, URL conventions, section 5.1.1: a user that is absent is `null`; a function of `null` is `null`, and
//! so is its negation; `null` chooses nobody.

mod evaluate;
mod lex;
mod parse;

use std::fmt;

/// Longest filter, in bytes. A whole address has 12 KB at most.
const BYTES_MAX: usize = 8 * 1024;

/// Most operators, functions, names and values in a filter: the vendor warns of more than 100 clauses.
const PARTS_MAX: usize = 1_000;

/// How deep parentheses, functions and `not` may nest.
const DEPTH_MAX: usize = 32;

/// A filter that was read and makes sense.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter(Condition);

/// What a filter may ask about a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) connection: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) groups: &'a [&'a str],
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilterError {
    /// Where, in characters from 1 on.
    position: usize,
    what: String,
}

impl Filter {
    /// Reads a filter.
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > BYTES_MAX {
            let what = format!("it has {} bytes, more than the {BYTES_MAX} allowed", text.len());
            return Err(FilterError { position: 1, what });
        }
        parse::filter(text).map(Self)
    }

    /// Whether a connection is meant.
    pub(crate) fn matches(&self, seen: Seen<'_>) -> bool {
        self.0.holds(seen) == Some(true)
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the filter at character {}: {}", self.position, self.what)
    }
}

/// Something that is true, false or null.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Literal(Option<bool>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    CompareText(Comparison, Text, Text),
    CompareNumber(Comparison, Number, Number),
    CompareTruth(Comparison, Box<Self>, Box<Self>),
    InGroups(Text),
    TextIn(Text, Vec<Text>),
    NumberIn(Number, Vec<Number>),
    StartsWith(Text, Text),
    EndsWith(Text, Text),
    Contains(Text, Text),
}

/// Something that is a text or null.
#[derive(Debug, Clone, PartialEq)]
enum Text {
    Literal(Option<Box<str>>),
    User,
    Connection,
    Lower(Box<Self>),
    Upper(Box<Self>),
    Trim(Box<Self>),
    Substring(Box<Self>, i64, Option<i64>),
    Concat(Box<Self>, Box<Self>),
}

/// Something that is a whole number or null.
#[derive(Debug, Clone, PartialEq)]
enum Number {
    Literal(Option<i64>),
    Length(Text),
    GroupCount,
    IndexOf(Text, Text),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[cfg(test)]
mod tests;
