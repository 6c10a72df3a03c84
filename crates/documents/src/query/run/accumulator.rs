//! [`Accumulator`]: the intermediate result of one aggregate.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::ast::Aggregate;
use super::super::evaluate::number;
use super::super::meter::weight;
use super::super::order::compare;

/// The intermediate result of one aggregate.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Accumulator {
    count: u64,
    total: f64,
    /// Something defined that is not a number: SUM and AVG become undefined.
    spoiled: bool,
    /// The smallest value for MIN, the largest for MAX.
    extreme: Option<Value>,
    extreme_bytes: usize,
}

/// An accumulator inside a continuation token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedAccumulator {
    #[serde(rename = "c")]
    count: u64,
    /// The bits of the total: its JSON text may not parse as the same number.
    #[serde(rename = "t")]
    total_bits: u64,
    #[serde(rename = "s")]
    spoiled: bool,
    /// Empty if there is none, because null is a value.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    extreme: Vec<Value>,
}

impl Accumulator {
    pub(super) fn add(&mut self, aggregate: Aggregate, value: Option<&Value>) {
        let Some(value) = value else { return };
        self.count = self.count.saturating_add(1);
        match value.as_f64() {
            Some(number) => self.total += number,
            None => self.spoiled = true,
        }
        let order = || compare(Some(value), self.extreme.as_ref());
        let is_news = match aggregate {
            Aggregate::Minimum => self.extreme.is_none() || order().is_lt(),
            Aggregate::Maximum => self.extreme.is_none() || order().is_gt(),
            Aggregate::Count | Aggregate::Sum | Aggregate::Average => false,
        };
        if is_news {
            self.extreme_bytes = weight(value);
            self.extreme = Some(value.clone());
        }
    }

    /// Bytes of values in memory.
    pub(super) fn bytes(&self) -> usize {
        self.extreme_bytes
    }

    pub(super) fn result(self, aggregate: Aggregate) -> Option<Value> {
        match aggregate {
            Aggregate::Count => Some(Value::from(self.count)),
            Aggregate::Sum if !self.spoiled => number(self.total),
            // Counts stay far below the 2^53 from which on doubles skip whole numbers.
            #[allow(clippy::cast_precision_loss)]
            Aggregate::Average if !self.spoiled && self.count > 0 => number(self.total / self.count as f64),
            Aggregate::Sum | Aggregate::Average => None,
            Aggregate::Minimum | Aggregate::Maximum => self.extreme,
        }
    }

    pub(super) fn saved(&self) -> SavedAccumulator {
        SavedAccumulator {
            count: self.count,
            total_bits: self.total.to_bits(),
            spoiled: self.spoiled,
            extreme: self.extreme.iter().cloned().collect(),
        }
    }

    pub(super) fn restored(saved: &SavedAccumulator) -> Self {
        let extreme = saved.extreme.first().cloned();
        Self {
            count: saved.count,
            total: f64::from_bits(saved.total_bits),
            spoiled: saved.spoiled,
            extreme_bytes: extreme.as_ref().map_or(0, weight),
            extreme,
        }
    }
}
