//! The expressions of a filter, with checked types.

/// An expression whose value is true, false or null.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
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

/// An expression whose value is a string or null.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Text {
    Literal(Option<Box<str>>),
    User,
    Connection,
    Lower(Box<Self>),
    Upper(Box<Self>),
    Trim(Box<Self>),
    Substring(Box<Self>, i64, Option<i64>),
    Concat(Box<Self>, Box<Self>),
}

/// An expression whose value is a whole number or null.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number {
    Literal(Option<i64>),
    Length(Text),
    GroupCount,
    IndexOf(Text, Text),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// The properties of a connection that a filter may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilteredConnection<'a> {
    pub(crate) connection: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) groups: &'a [&'a str],
}
