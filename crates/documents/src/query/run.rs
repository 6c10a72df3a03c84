//! Runs a query over rows and divides the result into pages.
//!
//! A page ends between two rows, and its continuation token contains the last row: its number, and for ORDER BY its sort values. So
//! rows that are added or removed between two pages do not shift other rows.
//!
//! A page that ends because of its [`Meter`] returns the rows found so far, perhaps none, and its continuation token contains the
//! position of the scan: with ORDER BY also the first rows so far, with aggregates the accumulators.

use serde_json::Value;

use super::ast::{Select, SqlQuery};
use super::evaluate::{EvaluationScope, evaluate, object, owned};
use super::filter::holds;
use super::meter::{Meter, weight};
use crate::error::RequestFailure;

mod accumulator;
mod continuation;
mod limits;
mod sort;
mod top_rows;

use accumulator::Accumulator;
use continuation::{Continuation, InterruptedScan};
use limits::HELD_BYTES_MAX;
pub(crate) use limits::PageLimits;
use sort::{RowKey, SortOrder};
use top_rows::TopRows;

/// Most rows of a page with ORDER BY whose scan needs several requests: the continuation token contains a number for each.
const SCAN_ROOM: usize = 100;

/// The source of rows.
pub(crate) trait Rows {
    /// Passes rows with numbers above `after` to `take`, in rising order, until it stops or the meter is used up.
    fn each(
        &self,
        after: u64,
        meter: &Meter<'_>,
        take: &mut dyn FnMut(u64, Value) -> Result<RowResult, RequestFailure>,
    ) -> Result<ScanEnd, RequestFailure>;

    /// A row by its number, if it still exists.
    fn one(&self, number: u64) -> Result<Option<Value>, RequestFailure>;
}

/// What to do after a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowResult {
    /// Continue with the next row.
    Continue,
    /// No more rows are needed.
    Stop,
    /// The budget was used up within this row; it counts as not scanned.
    Unfinished,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// No more rows exist or are needed.
    Complete,
    /// The budget is used up; this is the number of the last scanned row.
    Interrupted(u64),
}

/// Rows of a list in memory, numbered from 1.
pub(crate) struct ListRows(pub(crate) Vec<Value>);

/// One page of a result.
#[derive(Debug, Default)]
pub(crate) struct ResultPage {
    /// JSON texts.
    pub(crate) rows: Vec<String>,
    pub(crate) continuation: Option<String>,
}

impl Rows for ListRows {
    fn each(
        &self,
        after: u64,
        meter: &Meter<'_>,
        take: &mut dyn FnMut(u64, Value) -> Result<RowResult, RequestFailure>,
    ) -> Result<ScanEnd, RequestFailure> {
        let mut last = after;
        for (number, row) in (1..).zip(&self.0).skip_while(|(number, _)| *number <= after) {
            if !meter.next_row(weight(row))? {
                return Ok(ScanEnd::Interrupted(last));
            }
            match take(number, row.clone())? {
                RowResult::Continue => last = number,
                RowResult::Stop => break,
                RowResult::Unfinished => return Ok(ScanEnd::Interrupted(last)),
            }
        }
        Ok(ScanEnd::Complete)
    }

    fn one(&self, number: u64) -> Result<Option<Value>, RequestFailure> {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        Ok(index.and_then(|index| self.0.get(index)).cloned())
    }
}

/// The page after `continuation`, or the first one.
pub(crate) fn run(
    query: &SqlQuery,
    rows: &dyn Rows,
    limits: PageLimits,
    continuation: Option<&str>,
    now_ts: i64,
    meter: &Meter<'_>,
) -> Result<ResultPage, RequestFailure> {
    let resume = match continuation {
        None => Continuation::first(query.offset),
        Some(text) => Continuation::decode(text, query.aggregates.len()).ok_or_else(|| {
            RequestFailure::bad_request(
                "The continuation token is not valid for this query. Start again without it.",
            )
        })?,
    };
    let run = Run { query, rows, limits, now_ts, meter };
    if !query.aggregates.is_empty() {
        run.aggregated(resume)
    } else if query.order_by.is_empty() {
        run.streamed(resume)
    } else {
        run.sorted(resume)
    }
}

struct Run<'a> {
    query: &'a SqlQuery,
    rows: &'a dyn Rows,
    limits: PageLimits,
    now_ts: i64,
    meter: &'a Meter<'a>,
}

impl Run<'_> {
    fn scope<'r>(&'r self, root: &'r Value) -> EvaluationScope<'r> {
        EvaluationScope { root: Some(root), aggregates: &[], now_ts: self.now_ts, meter: self.meter }
    }

    fn order(&self) -> SortOrder<'_> {
        SortOrder(&self.query.order_by)
    }

    fn keeps(&self, row: &Value) -> bool {
        holds(self.query, row, self.now_ts, self.meter)
    }

    /// The projection of a row; `None` if it is undefined.
    fn shown(&self, scope: &EvaluationScope<'_>) -> Option<String> {
        match &self.query.select {
            Select::Star => scope.root.map(Value::to_string),
            Select::Value(expression) => evaluate(expression, scope).map(|value| value.to_string()),
            Select::List(list) => Some(Value::Object(object(list, scope)).to_string()),
        }
    }

    /// The number of rows in the page, by the requested page size and the query's limit.
    fn room(&self, resume: &Continuation) -> usize {
        let left = self.query.limit.map_or(u64::MAX, |limit| limit.saturating_sub(resume.taken));
        self.limits.items.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Whether the query's own limit is reached, so that no further page follows.
    fn is_complete(&self, resume: &Continuation) -> bool {
        self.query.limit.is_some_and(|limit| resume.taken >= limit)
    }

    fn streamed(&self, mut resume: Continuation) -> Result<ResultPage, RequestFailure> {
        let mut page = ResultPage::default();
        let (room, mut bytes, mut more) = (self.room(&resume), 0, false);
        if room == 0 {
            return Ok(page);
        }
        let ended = self.rows.each(resume.number, self.meter, &mut |number, row| {
            let text = if self.keeps(&row) { self.shown(&self.scope(&row)) } else { None };
            if !self.meter.row_is_complete()? {
                return Ok(RowResult::Unfinished);
            }
            let Some(text) = text else { return Ok(RowResult::Continue) };
            if resume.skip > 0 {
                resume.skip -= 1;
                resume.number = number;
                return Ok(RowResult::Continue);
            }
            more =
                page.rows.len() == room || (!page.rows.is_empty() && bytes + text.len() > self.limits.bytes);
            if more {
                return Ok(RowResult::Stop);
            }
            bytes += text.len();
            page.rows.push(text);
            resume.number = number;
            resume.taken = resume.taken.saturating_add(1);
            // The next matching row only shows that there is another page; after the limit there is none.
            Ok(if self.is_complete(&resume) { RowResult::Stop } else { RowResult::Continue })
        })?;
        if let ScanEnd::Interrupted(last) = ended {
            (more, resume.number) = (true, last);
        }
        page.continuation = if more { Some(resume.encode()?) } else { None };
        Ok(page)
    }

    fn sorted(&self, mut resume: Continuation) -> Result<ResultPage, RequestFailure> {
        let room = self.room(&resume).min(if resume.scan.is_some() { SCAN_ROOM } else { usize::MAX });
        if room == 0 {
            return Ok(ResultPage::default());
        }
        let skip = usize::try_from(resume.skip).unwrap_or(usize::MAX);
        let keep = skip.saturating_add(room).saturating_add(1);
        if keep > self.limits.sort_rows {
            let most = self.limits.sort_rows;
            return Err(RequestFailure::bad_request(format!(
                "ORDER BY with this OFFSET and page size needs {keep} rows in memory; the limit is {most}. Use the continuation token instead of OFFSET."
            )));
        }
        let mut best = TopRows::new(self.order(), keep);
        let ended = self.scan(&mut resume, &mut best)?;
        if let ScanEnd::Interrupted(last) = ended {
            best.keep = skip.saturating_add(room.min(SCAN_ROOM)).saturating_add(1);
            best.trim()?;
            resume.scan = Some(InterruptedScan::new(last, best.keys, best.bound)?);
            return Ok(ResultPage { rows: Vec::new(), continuation: Some(resume.encode()?) });
        }
        best.trim()?;
        self.sorted_page(resume, best.keys, best.bound.as_ref(), room)
    }

    /// Scans the remaining rows, and reads the first rows of earlier requests again.
    fn scan(&self, resume: &mut Continuation, best: &mut TopRows<'_>) -> Result<ScanEnd, RequestFailure> {
        let after = resume.sort_position();
        let mut scanned = 0;
        if let Some(scan) = resume.scan.take() {
            // An earlier page counted their cost; reading them again must not stop this page.
            let again = Run { meter: &self.meter.of_found_rows(), ..*self };
            for number in scan.numbers() {
                let Some(row) = self.rows.one(number)? else { continue };
                let allowed = again.meter.next_row(weight(&row))?;
                let key = again.sort_key(number, &row, after.as_ref());
                if !allowed || !again.meter.row_is_complete()? {
                    return Err(RequestFailure::bad_request(
                        "ORDER BY over items of this size needs more steps than a request may take (query_steps_max). Request smaller pages, or filter the items.",
                    ));
                }
                if let Some(key) = key {
                    best.add(key)?;
                }
            }
            best.bound = scan.bound();
            scanned = scan.scanned;
        }
        self.rows.each(scanned, self.meter, &mut |number, row| {
            let key = self.sort_key(number, &row, after.as_ref());
            if !self.meter.row_is_complete()? {
                return Ok(RowResult::Unfinished);
            }
            if let Some(key) = key {
                best.add(key)?;
            }
            Ok(RowResult::Continue)
        })
    }

    /// The sort key of a row, if the row is in the result and follows `after`.
    fn sort_key(&self, number: u64, row: &Value, after: Option<&RowKey>) -> Option<RowKey> {
        if !self.keeps(row) {
            return None;
        }
        let scope = self.scope(row);
        if matches!(self.query.select, Select::Value(_)) && self.shown(&scope).is_none() {
            return None;
        }
        let by = self.query.order_by.iter();
        let by = by.map(|key| evaluate(&key.by, &scope).and_then(|value| owned(value, &scope)));
        let key = (by.collect(), number);
        after.is_none_or(|after| self.order().compare(&key, after).is_gt()).then_some(key)
    }

    /// The page of the first rows of the scan. `bound`: rows after it were dropped.
    fn sorted_page(
        &self,
        mut resume: Continuation,
        keys: Vec<RowKey>,
        bound: Option<&RowKey>,
        room: usize,
    ) -> Result<ResultPage, RequestFailure> {
        let mut page = ResultPage::default();
        let (mut bytes, mut more) = (0, bound.is_some());
        let skip = usize::try_from(resume.skip).unwrap_or(usize::MAX);
        // The projection has its own budget after that of the scan, so that each page has a row.
        let showing = Run { meter: &self.meter.of_found_rows(), ..*self };
        for key in keys.into_iter().skip(skip) {
            if page.rows.len() == room || bound.is_some_and(|bound| self.order().compare(&key, bound).is_gt())
            {
                more = true;
                break;
            }
            let Some(row) = self.rows.one(key.1)? else { continue };
            let allowed = showing.meter.next_row(weight(&row))?;
            let text = if allowed { showing.shown(&showing.scope(&row)) } else { None };
            if !allowed || !showing.meter.row_is_complete()? {
                more = true;
                break;
            }
            let Some(text) = text else { continue };
            if !page.rows.is_empty() && bytes + text.len() > self.limits.bytes {
                more = true;
                break;
            }
            bytes += text.len();
            page.rows.push(text);
            resume.after_sorted(key);
        }
        more = more && !self.is_complete(&resume);
        page.continuation = if more { Some(resume.encode_sorted(self.query.offset)?) } else { None };
        Ok(page)
    }

    fn aggregated(&self, mut resume: Continuation) -> Result<ResultPage, RequestFailure> {
        let mut sums = resume.sums();
        sums.resize_with(self.query.aggregates.len(), Accumulator::default);
        let ended = self.rows.each(resume.number, self.meter, &mut |_, row| {
            let scope = self.scope(&row);
            let of = if self.keeps(&row) { self.query.aggregates.as_slice() } else { &[] };
            let values: Vec<_> = of.iter().map(|(_, of)| evaluate(of, &scope)).collect();
            if !self.meter.row_is_complete()? {
                return Ok(RowResult::Unfinished);
            }
            for ((sum, (aggregate, _)), value) in sums.iter_mut().zip(of).zip(&values) {
                sum.add(*aggregate, value.as_deref());
            }
            if sums.iter().map(Accumulator::bytes).sum::<usize>() > HELD_BYTES_MAX {
                return Err(RequestFailure::bad_request(format!(
                    "MIN and MAX of this query need more than {HELD_BYTES_MAX} bytes in memory. Select fewer or smaller values."
                )));
            }
            Ok(RowResult::Continue)
        })?;
        if let ScanEnd::Interrupted(last) = ended {
            resume.number = last;
            resume.save_sums(&sums);
            return Ok(ResultPage { rows: Vec::new(), continuation: Some(resume.encode()?) });
        }
        let pairs = sums.into_iter().zip(&self.query.aggregates);
        let aggregates: Vec<_> = pairs.map(|(sum, (aggregate, _))| sum.result(*aggregate)).collect();
        let showing = self.meter.of_found_rows();
        let scope =
            EvaluationScope { root: None, aggregates: &aggregates, now_ts: self.now_ts, meter: &showing };
        let wanted = self.query.offset == 0 && self.query.limit != Some(0);
        let row = if wanted { self.shown(&scope) } else { None };
        showing.row_is_complete()?;
        Ok(ResultPage { rows: row.into_iter().collect(), continuation: None })
    }
}
