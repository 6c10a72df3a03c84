//! [`Continuation`]: the content of a continuation token. It comes from the client, so it is not trusted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::accumulator::{Accumulator, SavedAccumulator};
use super::sort::RowKey;
use crate::error::RequestFailure;

/// Longest continuation token with sort values; a longer one has the number of returned rows instead.
const NAMED_BYTES_MAX: usize = 1024;
/// Longest continuation token: clients accept 16 KiB of headers in total.
const BYTES_MAX: usize = 8 * 1024;
/// Most row numbers in a continuation token.
const SCAN_ROWS_MAX: usize = 1000;

/// Where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Continuation {
    /// Number of the last returned row or, without ORDER BY, of the last scanned row.
    #[serde(rename = "n", default)]
    pub(super) number: u64,
    /// The sort values of that row: each in an array, undefined as an empty one.
    #[serde(rename = "k", default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Vec<Value>>,
    /// Rows still to skip.
    #[serde(rename = "s", default)]
    pub(super) skip: u64,
    /// Rows returned so far.
    #[serde(rename = "t", default)]
    pub(super) taken: u64,
    /// With ORDER BY, the interrupted scan for the next page.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(super) scan: Option<InterruptedScan>,
    /// With aggregates, the accumulators.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    sums: Vec<SavedAccumulator>,
}

/// A scan that ended early.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct InterruptedScan {
    /// Number of the last scanned row.
    #[serde(rename = "n")]
    pub(super) scanned: u64,
    /// Numbers of the first rows so far, each as the difference from the one before.
    #[serde(rename = "r")]
    rows: Vec<u64>,
    /// Number and sort values of the last complete position; rows after it were dropped.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    bound: Option<(u64, Vec<Vec<Value>>)>,
}

impl Continuation {
    /// The first page.
    pub(super) fn first(skip: u64) -> Self {
        Self { skip, ..Self::default() }
    }

    /// `None` if the text is not a continuation token of a query with this number of aggregates.
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
            "The query needs several requests, and its continuation token would be too long. Filter the items, or use fewer or shorter values in ORDER BY, MIN and MAX.",
        ))
    }

    /// The continuation token after a page with ORDER BY.
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

    /// The sort key of the last returned row, if the token contains it.
    pub(super) fn sort_position(&self) -> Option<RowKey> {
        (!self.keys.is_empty()).then(|| (unwrapped(&self.keys), self.number))
    }

    pub(super) fn sums(&self) -> Vec<Accumulator> {
        self.sums.iter().map(Accumulator::restored).collect()
    }

    pub(super) fn save_sums(&mut self, sums: &[Accumulator]) {
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
                "ORDER BY with OFFSET scans more rows than one request may, and cannot continue with {} rows to skip. Use the continuation token instead of OFFSET, or filter the items.",
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

/// JSON has no undefined: a value is an array with the value, undefined an empty array.
fn wrapped(keys: Vec<Option<Value>>) -> Vec<Vec<Value>> {
    keys.into_iter().map(|value| value.into_iter().collect()).collect()
}

fn unwrapped(keys: &[Vec<Value>]) -> Vec<Option<Value>> {
    keys.iter().map(|value| value.first().cloned()).collect()
}
