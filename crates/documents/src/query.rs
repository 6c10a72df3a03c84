//! The SQL dialect: text to tree (`lex`, `parse`, `ast`), tree over JSON (`evaluate`, `functions`, `order`), pages (`run`).
//!
//! Not its concern: where rows come from (see [`Rows`]), HTTP. A construct that is not offered is an [`SqlError`] that names
//! it and where it stands; nothing is ignored.

mod ast;
mod evaluate;
mod functions;
mod lex;
mod meter;
mod order;
mod parse;
mod run;

use serde_json::{Map, Value};

pub(crate) use ast::{Query, Select};
pub(crate) use meter::{Budget, Meter, Watch};
pub(crate) use parse::{IN_ITEMS_MAX, LOGICAL_MAX};
pub(crate) use run::{Ended, ListRows, Page, PageLimits, Rows, Take, run};

use crate::error::Failure;

/// Values of `@name`.
pub(crate) type Parameters = Map<String, Value>;

/// Why a query is refused. The fields are what the dialect's error body shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Character offsets in the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Reads a query.
pub(crate) fn parse(text: &str, parameters: &Parameters) -> Result<Query, SqlError> {
    parse::parse(text, parameters)
}

/// Whether an item satisfies the query's WHERE. Ask the meter afterwards whether the answer counts.
pub(crate) fn holds(query: &Query, item: &Value, now_ts: i64, meter: &Meter<'_>) -> bool {
    let scope = evaluate::Scope { root: Some(item), aggregates: &[], now_ts, meter };
    query.filter.as_ref().is_none_or(|filter| evaluate::is_true(filter, &scope))
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        let shape = serde_json::json!({"errors": [{
            "severity": "Error",
            "location": {"start": error.start, "end": error.end},
            "code": error.code,
            "message": error.message,
        }]});
        Self { errors_json: Some(shape.to_string()), ..Self::bad_request(error.message) }
    }
}
