//! [`holds`]: whether an item satisfies a query's WHERE.

use serde_json::Value;

use super::ast::SqlQuery;
use super::evaluate::{self, EvaluationScope};
use super::meter::Meter;

/// Whether an item satisfies the query's WHERE. The result is only valid if the meter says so afterwards.
pub(crate) fn holds(query: &SqlQuery, item: &Value, now_ts: i64, meter: &Meter<'_>) -> bool {
    let scope = EvaluationScope { root: Some(item), aggregates: &[], now_ts, meter };
    query.filter.as_ref().is_none_or(|filter| evaluate::is_true(filter, &scope))
}
