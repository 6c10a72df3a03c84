//! Runs a query over rows and cuts the result into pages.
//!
//! A page ends at a row, never inside one, and its continuation names that row: the row's number, and for ORDER BY the values it
//! was sorted by. So rows that are added or removed between two pages move no other row across the cut.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ast::{Aggregate, Query, Select};
use super::evaluate::{Scope, evaluate, number, object};
use super::order::compare;
use crate::error::Failure;

/// Longest continuation that names its row by its sort values; beyond it the rows handed out are counted instead.
const CONTINUATION_BYTES_MAX: usize = 1024;

/// Where rows come from.
pub(crate) trait Rows {
    /// Hands rows with numbers above `after` to `take`, in rising order, until it answers false.
    fn each(
        &self,
        after: u64,
        take: &mut dyn FnMut(u64, Value) -> Result<bool, Failure>,
    ) -> Result<(), Failure>;

    /// One row by its number, if it is still there.
    fn one(&self, number: u64) -> Result<Option<Value>, Failure>;
}

/// Rows of a list in memory, numbered from 1.
pub(crate) struct ListRows(pub(crate) Vec<Value>);

/// How large a page may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimits {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) sort_rows: usize,
}

/// One page of a result.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// JSON texts.
    pub(crate) rows: Vec<String>,
    pub(crate) continuation: Option<String>,
}

/// Where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Resume {
    /// Number of the last row handed out.
    #[serde(rename = "n", default)]
    number: u64,
    /// What that row was sorted by: each value in an array, undefined as an empty one.
    #[serde(rename = "k", default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Vec<Value>>,
    /// Rows that still have to be passed over.
    #[serde(rename = "s", default)]
    skip: u64,
    /// Rows handed out so far.
    #[serde(rename = "t", default)]
    taken: u64,
}

impl Rows for ListRows {
    fn each(
        &self,
        after: u64,
        take: &mut dyn FnMut(u64, Value) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        for (number, row) in (1..).zip(&self.0).skip_while(|(number, _)| *number <= after) {
            if !take(number, row.clone())? {
                break;
            }
        }
        Ok(())
    }

    fn one(&self, number: u64) -> Result<Option<Value>, Failure> {
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        Ok(index.and_then(|index| self.0.get(index)).cloned())
    }
}

/// The page after `continuation`, or the first one.
pub(crate) fn run(
    query: &Query,
    rows: &dyn Rows,
    limits: PageLimits,
    continuation: Option<&str>,
    now_ts: i64,
) -> Result<Page, Failure> {
    let resume = match continuation {
        None => Resume { skip: query.offset, ..Resume::default() },
        Some(text) => Resume::decode(text).ok_or_else(|| {
            Failure::bad_request("The continuation is not one of this query. Start again without it.")
        })?,
    };
    let run = Run { query, rows, limits, now_ts };
    if !query.aggregates.is_empty() {
        run.aggregated()
    } else if query.order_by.is_empty() {
        run.streamed(resume)
    } else {
        run.sorted(resume)
    }
}

struct Run<'a> {
    query: &'a Query,
    rows: &'a dyn Rows,
    limits: PageLimits,
    now_ts: i64,
}

/// A row's sort values and number.
type Key = (Vec<Option<Value>>, u64);

impl Run<'_> {
    fn scope<'r>(&self, root: &'r Value) -> Scope<'r> {
        Scope { root: Some(root), aggregates: &[], now_ts: self.now_ts }
    }

    fn keeps(&self, row: &Value) -> bool {
        super::holds(self.query, row, self.now_ts)
    }

    /// What the result shows of a row; none if it shows nothing.
    fn shown(&self, scope: &Scope<'_>) -> Option<String> {
        match &self.query.select {
            Select::Star => scope.root.map(Value::to_string),
            Select::Value(expression) => evaluate(expression, scope).map(|value| value.to_string()),
            Select::List(list) => Some(Value::Object(object(list, scope)).to_string()),
        }
    }

    /// How many rows the page may have, by the client's wish and the query's limit.
    fn room(&self, resume: &Resume) -> usize {
        let left = self.query.limit.map_or(u64::MAX, |limit| limit.saturating_sub(resume.taken));
        self.limits.items.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Whether the query's own limit is reached, so that no further page follows.
    fn is_complete(&self, resume: &Resume) -> bool {
        self.query.limit.is_some_and(|limit| resume.taken >= limit)
    }

    fn streamed(&self, mut resume: Resume) -> Result<Page, Failure> {
        let mut page = Page::default();
        let (room, mut bytes, mut more) = (self.room(&resume), 0, false);
        if room == 0 {
            return Ok(page);
        }
        self.rows.each(resume.number, &mut |number, row| {
            if !self.keeps(&row) {
                return Ok(true);
            }
            let Some(text) = self.shown(&self.scope(&row)) else { return Ok(true) };
            if resume.skip > 0 {
                resume.skip -= 1;
                resume.number = number;
                return Ok(true);
            }
            more =
                page.rows.len() == room || (!page.rows.is_empty() && bytes + text.len() > self.limits.bytes);
            if more {
                return Ok(false);
            }
            bytes += text.len();
            page.rows.push(text);
            resume.number = number;
            resume.taken += 1;
            // The next matching row only tells whether there is another page; behind a limit there is none.
            Ok(!self.is_complete(&resume))
        })?;
        page.continuation = more.then(|| resume.encode());
        Ok(page)
    }

    fn sorted(&self, mut resume: Resume) -> Result<Page, Failure> {
        let mut page = Page::default();
        let room = self.room(&resume);
        if room == 0 {
            return Ok(page);
        }
        let skip = usize::try_from(resume.skip).unwrap_or(usize::MAX);
        let keep = skip.saturating_add(room).saturating_add(1);
        if keep > self.limits.sort_rows {
            let most = self.limits.sort_rows;
            return Err(Failure::bad_request(format!(
                "ORDER BY with this OFFSET and page size needs {keep} rows in memory, and the limit is {most}. Page by continuation instead of OFFSET."
            )));
        }
        let keys = self.smallest_keys(&resume, keep)?;
        let mut bytes = 0;
        let mut rest = keys.into_iter().skip(skip);
        let mut more = false;
        for (key, number) in rest.by_ref() {
            let Some(row) = self.rows.one(number)? else { continue };
            let Some(text) = self.shown(&self.scope(&row)) else { continue };
            more =
                page.rows.len() == room || (!page.rows.is_empty() && bytes + text.len() > self.limits.bytes);
            if more {
                break;
            }
            bytes += text.len();
            page.rows.push(text);
            resume.after_sorted(key, number);
        }
        more = more && !self.is_complete(&resume);
        page.continuation = more.then(|| resume.encode_sorted(self.query.offset));
        Ok(page)
    }

    /// The `keep` first keys behind `resume`, in order. Holds at most twice as many at a time.
    fn smallest_keys(&self, resume: &Resume, keep: usize) -> Result<Vec<Key>, Failure> {
        let after = resume.sort_position();
        let mut keys: Vec<Key> = Vec::new();
        self.rows.each(0, &mut |number, row| {
            if !self.keeps(&row) {
                return Ok(true);
            }
            let scope = self.scope(&row);
            if matches!(self.query.select, Select::Value(_)) && self.shown(&scope).is_none() {
                return Ok(true);
            }
            let by = self
                .query
                .order_by
                .iter()
                .map(|key| evaluate(&key.by, &scope).map(std::borrow::Cow::into_owned));
            let key = (by.collect(), number);
            if after.as_ref().is_none_or(|after| self.in_order(&key, after).is_gt()) {
                keys.push(key);
            }
            if keys.len() >= keep.saturating_mul(2) {
                keys.sort_unstable_by(|one, other| self.in_order(one, other));
                keys.truncate(keep);
            }
            Ok(true)
        })?;
        keys.sort_unstable_by(|one, other| self.in_order(one, other));
        keys.truncate(keep);
        Ok(keys)
    }

    fn in_order(&self, one: &Key, other: &Key) -> Ordering {
        let pairs = one.0.iter().zip(&other.0).zip(&self.query.order_by);
        let first_difference = pairs
            .map(|((one, other), key)| {
                let order = compare(one.as_ref(), other.as_ref());
                if key.descending { order.reverse() } else { order }
            })
            .find(|order| order.is_ne());
        first_difference.unwrap_or_else(|| one.1.cmp(&other.1))
    }

    fn aggregated(&self) -> Result<Page, Failure> {
        let mut sums: Vec<Sum> = self.query.aggregates.iter().map(|_| Sum::default()).collect();
        self.rows.each(0, &mut |_, row| {
            if self.keeps(&row) {
                let scope = self.scope(&row);
                for (sum, (_, of)) in sums.iter_mut().zip(&self.query.aggregates) {
                    sum.add(evaluate(of, &scope).as_deref());
                }
            }
            Ok(true)
        })?;
        let pairs = sums.into_iter().zip(&self.query.aggregates);
        let aggregates: Vec<_> = pairs.map(|(sum, (aggregate, _))| sum.result(*aggregate)).collect();
        let scope = Scope { root: None, aggregates: &aggregates, now_ts: self.now_ts };
        let wanted = self.query.offset == 0 && self.query.limit != Some(0);
        let row = if wanted { self.shown(&scope) } else { None };
        Ok(Page { rows: row.into_iter().collect(), continuation: None })
    }
}

/// What one aggregate has seen.
#[derive(Default)]
struct Sum {
    count: u64,
    total: f64,
    /// Something defined that is not a number: SUM and AVG become undefined.
    spoiled: bool,
    smallest: Option<Value>,
    largest: Option<Value>,
}

impl Sum {
    fn add(&mut self, value: Option<&Value>) {
        let Some(value) = value else { return };
        self.count += 1;
        match value.as_f64() {
            Some(number) => self.total += number,
            None => self.spoiled = true,
        }
        if self.smallest.is_none() || compare(Some(value), self.smallest.as_ref()).is_lt() {
            self.smallest = Some(value.clone());
        }
        if compare(Some(value), self.largest.as_ref()).is_gt() {
            self.largest = Some(value.clone());
        }
    }

    fn result(self, aggregate: Aggregate) -> Option<Value> {
        match aggregate {
            Aggregate::Count => Some(Value::from(self.count)),
            Aggregate::Sum if !self.spoiled => number(self.total),
            // Counts stay far below the 2^53 from which on doubles skip whole numbers.
            #[allow(clippy::cast_precision_loss)]
            Aggregate::Average if !self.spoiled && self.count > 0 => number(self.total / self.count as f64),
            Aggregate::Sum | Aggregate::Average => None,
            Aggregate::Minimum => self.smallest,
            Aggregate::Maximum => self.largest,
        }
    }
}

impl Resume {
    fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("numbers and JSON values print as JSON"))
    }

    fn after_sorted(&mut self, key: Vec<Option<Value>>, number: u64) {
        self.number = number;
        self.keys = key.into_iter().map(|value| value.into_iter().collect()).collect();
        self.skip = 0;
        self.taken += 1;
    }

    fn encode_sorted(&self, offset: u64) -> String {
        let text = self.encode();
        if text.len() <= CONTINUATION_BYTES_MAX {
            return text;
        }
        Self { number: 0, keys: Vec::new(), skip: offset + self.taken, taken: self.taken }.encode()
    }

    /// The key of the last row handed out, if the continuation names it.
    fn sort_position(&self) -> Option<Key> {
        let key = |value: &Vec<Value>| value.first().cloned();
        (!self.keys.is_empty()).then(|| (self.keys.iter().map(key).collect(), self.number))
    }
}
