//! [`Meter`]: counts the cost of one page of a query, and ends the page at its budget.
//!
//! Cost is counted in steps: one for each evaluation of an expression, and one for every [`BYTES_PER_STEP`] bytes of JSON that
//! are parsed, compared or copied. Steps do not depend on the machine, so a page ends at the same row on every machine, unless its
//! time limit comes first. A page has at least one row, so that every continuation makes progress.

use std::cell::Cell;
use std::mem::size_of;

use serde_json::Value;

use crate::error::RequestFailure;

/// Bytes that cost as much as the evaluation of an expression.
const BYTES_PER_STEP: usize = 16;
/// Steps between two checks for cancellation.
const LOOK_EVERY: u64 = 4096;
/// Most bytes of values that the expressions of one row may build; more than any page has.
const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The budget of one page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryBudget {
    /// Rows that are scanned.
    pub(crate) rows: u64,
    pub(crate) steps: u64,
}

/// The events that end a page early.
#[derive(Clone, Copy)]
pub(crate) struct QueryWatch<'a> {
    /// Whether the page has reached its time limit. Checked between rows.
    pub(crate) time_is_up: &'a dyn Fn() -> bool,
    /// Whether the read is canceled. Also checked within rows.
    pub(crate) caller_is_gone: &'a dyn Fn() -> bool,
}

/// Why the evaluation of a row was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Steps,
    RowBytes,
    CallerGone,
}

/// Counts the cost of one page.
pub(crate) struct Meter<'a> {
    budget: QueryBudget,
    watch: Option<QueryWatch<'a>>,
    rows: Cell<u64>,
    steps: Cell<u64>,
    looked_at: Cell<u64>,
    row_bytes: Cell<usize>,
    stop: Cell<Option<Stop>>,
    cut: Cell<bool>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(budget: QueryBudget, watch: QueryWatch<'a>) -> Self {
        Self { watch: Some(watch), ..Self::of_steps(budget) }
    }

    /// A meter that only counts.
    pub(crate) fn of_steps(budget: QueryBudget) -> Self {
        Self {
            budget,
            watch: None,
            rows: Cell::default(),
            steps: Cell::default(),
            looked_at: Cell::default(),
            row_bytes: Cell::default(),
            stop: Cell::default(),
            cut: Cell::default(),
        }
    }

    /// A meter for the rows of the page itself, which were already found: they have a budget of the same number of steps, without
    /// limits of rows and time.
    pub(super) fn of_found_rows(&self) -> Self {
        let watch = self.watch.map(|watch| QueryWatch { time_is_up: &|| false, ..watch });
        Self { watch, ..Self::of_steps(QueryBudget { rows: u64::MAX, ..self.budget }) }
    }

    /// Rows that were scanned.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.get()
    }

    /// Steps that were taken.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Whether the page ended early.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut.get()
    }

    /// Whether the page may scan one more row of this size, in bytes of JSON. The first row is always allowed.
    pub(crate) fn next_row(&self, bytes: usize) -> Result<bool, RequestFailure> {
        let gone = self.watch.is_some_and(|watch| (watch.caller_is_gone)());
        if gone || self.stop.get() == Some(Stop::CallerGone) {
            return Err(RequestFailure::caller_gone());
        }
        let spent = self.rows.get() >= self.budget.rows || self.steps.get() >= self.budget.steps;
        let late = || self.watch.is_some_and(|watch| (watch.time_is_up)());
        if self.rows.get() > 0 && (spent || late()) {
            self.cut.set(true);
            return Ok(false);
        }
        self.rows.set(self.rows.get() + 1);
        self.row_bytes.set(0);
        self.stop.set(None);
        self.steps.set(self.steps.get().saturating_add(steps_of(bytes)));
        Ok(true)
    }

    /// Whether the current row was evaluated completely. If not, the page ends before it. A row that exceeds the budget of a whole page
    /// is an error, because the next page would not get further.
    pub(crate) fn row_is_complete(&self) -> Result<bool, RequestFailure> {
        match self.stop.get() {
            None => Ok(true),
            Some(Stop::CallerGone) => Err(RequestFailure::caller_gone()),
            Some(Stop::RowBytes) => Err(RequestFailure::bad_request(format!(
                "The expressions of the query build more than {ROW_BYTES_MAX} bytes from one item. Select less of it."
            ))),
            Some(Stop::Steps) if self.rows.get() <= 1 => Err(RequestFailure::bad_request(format!(
                "The query takes more than {} steps for a single item, which is the limit of a page (query_steps_max; lower for conditions of patches). Use fewer terms, or split the query.",
                self.budget.steps
            ))),
            Some(Stop::Steps) => {
                self.cut.set(true);
                Ok(false)
            }
        }
    }

    /// Counts one evaluation; false if the row must end.
    pub(super) fn step(&self) -> bool {
        self.pay(1)
    }

    /// Counts the processing of bytes; false if the row must end.
    pub(super) fn handle(&self, bytes: usize) -> bool {
        bytes < BYTES_PER_STEP || self.pay(steps_of(bytes))
    }

    /// Counts a new value of this size; false if the row must end and the value must not be built.
    pub(super) fn build(&self, bytes: usize) -> bool {
        let built = self.row_bytes.get().saturating_add(bytes);
        self.row_bytes.set(built);
        if built > ROW_BYTES_MAX {
            self.stop.set(Some(Stop::RowBytes));
        }
        self.handle(bytes) && self.stop.get().is_none()
    }

    fn pay(&self, steps: u64) -> bool {
        if self.stop.get().is_some() {
            return false;
        }
        let total = self.steps.get().saturating_add(steps);
        self.steps.set(total);
        if total > self.budget.steps {
            self.stop.set(Some(Stop::Steps));
            return false;
        }
        if total - self.looked_at.get() >= LOOK_EVERY {
            self.looked_at.set(total);
            if self.watch.is_some_and(|watch| (watch.caller_is_gone)()) {
                self.stop.set(Some(Stop::CallerGone));
                return false;
            }
        }
        true
    }
}

/// About how many bytes a value takes in memory.
pub(super) fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(elements) => elements.iter().map(weight).sum(),
            Value::Object(properties) => {
                properties.iter().map(|(name, value)| name.len() + weight(value)).sum()
            }
        }
}

fn steps_of(bytes: usize) -> u64 {
    (bytes / BYTES_PER_STEP) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: QueryBudget = QueryBudget { rows: 3, steps: 1000 };

    fn meter<'a>(time_is_up: &'a dyn Fn() -> bool, caller_is_gone: &'a dyn Fn() -> bool) -> Meter<'a> {
        Meter::new(BUDGET, QueryWatch { time_is_up, caller_is_gone })
    }

    #[test]
    fn a_page_without_time_left_has_one_row() {
        let meter = meter(&|| true, &|| false);
        assert_eq!(meter.next_row(0), Ok(true));
        assert!(meter.step());
        assert_eq!(meter.row_is_complete(), Ok(true));
        assert_eq!((meter.next_row(0), meter.was_cut(), meter.rows()), (Ok(false), true, 1));
    }

    #[test]
    fn a_page_ends_at_its_row_limit_and_at_its_step_limit() {
        let rows = meter(&|| false, &|| false);
        let taken = (0..9).take_while(|_| rows.next_row(0) == Ok(true)).count();
        assert_eq!((taken, rows.was_cut()), (3, true));
        let steps = meter(&|| false, &|| false);
        assert_eq!(steps.next_row(16 * 900), Ok(true));
        assert_eq!((steps.row_is_complete(), steps.next_row(16 * 200)), (Ok(true), Ok(true)));
        assert!(!steps.step(), "the second row is too much for what is left");
        assert_eq!((steps.row_is_complete(), steps.was_cut()), (Ok(false), true));
        let large = meter(&|| false, &|| false);
        assert_eq!(large.next_row(16 * 1001), Ok(true));
        assert!(!large.step());
        assert!(large.row_is_complete().is_err(), "the next page would get no further");
    }

    #[test]
    fn a_row_ends_when_the_read_is_canceled_or_builds_too_much() {
        let gone = Cell::new(false);
        let is_gone = || gone.get();
        let watch = QueryWatch { time_is_up: &|| false, caller_is_gone: &is_gone };
        let meter = Meter::new(QueryBudget { rows: 9, steps: 1_000_000_000 }, watch);
        assert_eq!(meter.next_row(0), Ok(true));
        gone.set(true);
        assert!(!(0..=LOOK_EVERY).all(|_| meter.step()));
        assert!(meter.row_is_complete().is_err());
        gone.set(false);
        assert!(meter.next_row(0).is_err(), "it is not begun again");
        let meter = Meter::new(QueryBudget { rows: 9, steps: 1_000_000_000 }, watch);
        assert_eq!(meter.next_row(0), Ok(true));
        assert!(meter.build(ROW_BYTES_MAX) && !meter.build(1));
        assert!(meter.row_is_complete().is_err());
    }
}
