//! [`Continuation`]: what a continuation says. It comes back from the client, so nothing in it is trusted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::accumulator::{Accumulator, SavedAccumulator};
use super::sort::RowKey;
use crate::error::RequestFailure;

/// Longest continuation that names its row by its sort values; beyond it the rows handed out are counted instead.
const NAMED_BYTES_MAX: usize = 1024;
/// Longest continuation: clients take 16 KiB of headers, and there are others.
const BYTES_MAX: usize = 8 * 1024;
/// Most row numbers in a continuation.
const SCAN_ROWS_MAX: usize = 1000;

/// Where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Continuation {
    /// Number of the last row handed out or, without ORDER BY, looked at.
    #[serde(rename = "n", default)]
    pub(super) number: u64,
    /// What that row was sorted by: each value in an array, undefined as an empty one.
    #[serde(rename = "k", default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Vec<Value>>,
    /// Rows that still have to be passed over.
    #[serde(rename = "s", default)]
    pub(super) skip: u64,
    /// Rows handed out so far.
    #[serde(rename = "t", default)]
    pub(super) taken: u64,
    /// With ORDER BY, how far the scan for the next page came.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(super) scan: Option<InterruptedScan>,
    /// With aggregates, the sums so far.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    sums: Vec<SavedAccumulator>,
}

/// A scan that was cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct InterruptedScan {
    /// Number of the last row looked at.
    #[serde(rename = "n")]
    pub(super) scanned: u64,
    /// Numbers of the best rows so far, each as the distance from the one before.
    #[serde(rename = "r")]
    rows: Vec<u64>,
    /// Number and sort values of the last row that is certain; what comes behind it was dropped.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    bound: Option<(u64, Vec<Vec<Value>>)>,
}

impl Continuation {
    /// The first page.
    pub(super) fn first(skip: u64) -> Self {
        Self { skip, ..Self::default() }
    }

    /// None if the text is not a continuation of a query with so many aggregates.
    pub(super) fn decode(text: &str, aggregates: usize) -> Option<Self> {
        let resume: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let sums_fit = resume.sums.is_empty() || resume.sums.len() == aggregates;
        let scan_fits = resume.scan.as_ref().is_none_or(|scan| scan.rows.len() <= SCAN_ROWS_MAX);
        (sums_fit && scan_fits).then_some(resume)
    }

    pub(super) fn encode(&self) -> Result<String, RequestFailure> {
        let text = self.text();
        if text.len() <= BYTES_MAX {
            return Ok(text);
        }
        Err(RequestFailure::bad_request(
            "The query needs several requests, and what it has to remember between them is too long for a continuation. Filter the items, or use fewer or shorter values in ORDER BY, MIN and MAX.",
        ))
    }

    /// The continuation behind a page with ORDER BY.
    pub(super) fn encode_sorted(&self, offset: u64) -> Result<String, RequestFailure> {
        let text = self.text();
        if text.len() <= NAMED_BYTES_MAX {
            return Ok(text);
        }
        Self { skip: offset.saturating_add(self.taken), taken: self.taken, ..Self::default() }.encode()
    }

    pub(super) fn after_sorted(&mut self, (keys, number): RowKey) {
        self.number = number;
        self.keys = wrapped(keys);
        self.skip = 0;
        self.taken = self.taken.saturating_add(1);
    }

    /// The key of the last row handed out, if the continuation names it.
    pub(super) fn sort_position(&self) -> Option<RowKey> {
        (!self.keys.is_empty()).then(|| (unwrapped(&self.keys), self.number))
    }

    pub(super) fn sums(&self) -> Vec<Accumulator> {
        self.sums.iter().map(Accumulator::restored).collect()
    }

    pub(super) fn keep_sums(&mut self, sums: &[Accumulator]) {
        self.sums = sums.iter().map(Accumulator::saved).collect();
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("numbers and JSON values print as JSON"))
    }
}

impl InterruptedScan {
    pub(super) fn new(
        scanned: u64,
        best: Vec<RowKey>,
        bound: Option<RowKey>,
    ) -> Result<Self, RequestFailure> {
        if best.len() > SCAN_ROWS_MAX {
            return Err(RequestFailure::bad_request(format!(
                "ORDER BY with OFFSET looks at more rows than one request may, and cannot go on with {} rows to pass over. Page by continuation instead of OFFSET, or filter the items.",
                best.len()
            )));
        }
        let mut numbers: Vec<u64> = best.into_iter().map(|(_, number)| number).collect();
        numbers.sort_unstable();
        let mut before = 0;
        let rows = numbers.into_iter().map(|number| number - std::mem::replace(&mut before, number));
        let bound = bound.map(|(keys, number)| (number, wrapped(keys)));
        Ok(Self { scanned, rows: rows.collect(), bound })
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.rows.iter().scan(0_u64, |number, distance| {
            *number = number.saturating_add(*distance);
            Some(*number)
        })
    }

    pub(super) fn bound(&self) -> Option<RowKey> {
        self.bound.as_ref().map(|(number, keys)| (unwrapped(keys), *number))
    }
}

/// JSON has no undefined: a value is an array of itself, and undefined an empty one.
fn wrapped(keys: Vec<Option<Value>>) -> Vec<Vec<Value>> {
    keys.into_iter().map(|value| value.into_iter().collect()).collect()
}

fn unwrapped(keys: &[Vec<Value>]) -> Vec<Option<Value>> {
    keys.iter().map(|value| value.first().cloned()).collect()
}
