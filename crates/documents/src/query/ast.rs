//! The abstract syntax tree of a query. Parameters are already replaced by their values.

use std::sync::Arc;

use serde_json::Value;

/// One SELECT over one container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SqlQuery {
    pub(crate) select: Select,
    pub(crate) filter: Option<Expression>,
    pub(crate) order_by: Vec<SortKey>,
    /// The lower one of `TOP` and `LIMIT`.
    pub(crate) limit: Option<u64>,
    pub(crate) offset: u64,
    /// The aggregates that `select` refers to by index; a query with aggregates returns one row.
    pub(crate) aggregates: Vec<(Aggregate, Expression)>,
}

/// The projection of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Select {
    Star,
    Value(Expression),
    List(Vec<(String, Expression)>),
}

/// One key of ORDER BY.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SortKey {
    pub(crate) by: Expression,
    pub(crate) descending: bool,
}

/// An expression; its value may be undefined.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Undefined,
    Literal(Value),
    /// The value of an `@name`, shared by all uses of the name: it may be as large as a request.
    Parameter(Arc<Value>),
    /// The item.
    Root,
    Property(Box<Expression>, String),
    Index(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    /// AND and OR are lists, so that a long chain is not a deep tree.
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    In(Box<Expression>, Vec<Expression>),
    Between(Box<Expression>, Box<Expression>, Box<Expression>),
    Conditional(Box<Expression>, Box<Expression>, Box<Expression>),
    Array(Vec<Expression>),
    Object(Vec<(String, Expression)>),
    Call(SqlFunction, Vec<Expression>),
    Aggregate(usize),
}

/// A binary operator, except AND and OR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Concatenate,
    Coalesce,
}

/// An aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Count,
    Sum,
    Average,
    Minimum,
    Maximum,
}

/// A built-in function. `functions.rs` has their names and meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SqlFunction {
    IsDefined,
    IsNull,
    IsString,
    IsNumber,
    IsBool,
    IsArray,
    IsObject,
    IsPrimitive,
    StartsWith,
    EndsWith,
    Contains,
    StringEquals,
    ArrayContains,
    ArrayLength,
    Length,
    Lower,
    Upper,
    Concat,
    CurrentTimestamp,
}
