//! Private functions for the fuzz targets, which are outside of the workspace. Only with the feature `fuzzing`; not a stable
//! interface.

use serde_json::Value;

use crate::query::{self, ListRows, Meter, PageLimits, Parameters, QueryBudget};

/// The limits of one page of a query.
#[derive(Clone, Copy, Debug)]
pub struct QueryLimits {
    /// Rows in a page.
    pub items: usize,
    /// Rows that a page scans.
    pub rows: u64,
    /// Steps of a page.
    pub steps: u64,
}

/// The complete result.
#[derive(Debug, Default)]
pub struct QueryOutcome {
    /// Its rows, as JSON.
    pub rows: Vec<String>,
    /// Number of its pages.
    pub pages: usize,
    /// The most rows that a page scanned.
    pub rows_most: u64,
    /// The most steps of a page.
    pub steps_most: u64,
    /// The most bytes in a continuation.
    pub continuation_bytes_most: usize,
}

/// Runs a query over rows in memory, page after page, up to a number of pages.
///
/// # Errors
///
/// The error text, if the query is rejected; `None` if there are more pages.
pub fn query(
    text: &str,
    rows: &[Value],
    limits: QueryLimits,
    pages_max: usize,
) -> Result<QueryOutcome, Option<String>> {
    let query = query::parse(text, &Parameters::new()).map_err(|error| Some(error.message))?;
    let rows = ListRows(rows.to_vec());
    let page_limits = PageLimits { items: limits.items, bytes: usize::MAX, sort_rows: usize::MAX };
    let mut outcome = QueryOutcome::default();
    let mut continuation: Option<String> = None;
    for pages in 1..=pages_max {
        let meter = Meter::of_steps(QueryBudget { rows: limits.rows, steps: limits.steps });
        let page = query::run(&query, &rows, page_limits, continuation.as_deref(), 1, &meter);
        outcome.rows_most = outcome.rows_most.max(meter.rows());
        outcome.steps_most = outcome.steps_most.max(meter.steps());
        let page = page.map_err(|failure| Some(failure.message))?;
        outcome.pages = pages;
        outcome.rows.extend(page.rows);
        continuation = page.continuation;
        let Some(token) = &continuation else { return Ok(outcome) };
        outcome.continuation_bytes_most = outcome.continuation_bytes_most.max(token.len());
    }
    Err(None)
}
