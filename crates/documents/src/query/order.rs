//! The order of values of different types, for ORDER BY, MIN and MAX.

use std::cmp::Ordering;

use serde_json::Value;

/// Compares any two values: undefined, null, false, true, numbers, strings (by code point), arrays, objects.
pub(super) fn compare(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    let ranks = rank(one).cmp(&rank(other));
    if ranks != Ordering::Equal {
        return ranks;
    }
    match (one, other) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => {
            let (one, other) = (one.as_f64().unwrap_or(0.0), other.as_f64().unwrap_or(0.0));
            one.partial_cmp(&other).unwrap_or(Ordering::Equal)
        }
        (Some(Value::String(one)), Some(Value::String(other))) => one.cmp(other),
        (Some(Value::Array(one)), Some(Value::Array(other))) => {
            let pairs = one.iter().zip(other).map(|(one, other)| compare(Some(one), Some(other)));
            pairs.into_iter().find(|it| it.is_ne()).unwrap_or_else(|| one.len().cmp(&other.len()))
        }
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let pairs = one.iter().zip(other).map(|((key, one), (other_key, other))| {
                key.cmp(other_key).then_with(|| compare(Some(one), Some(other)))
            });
            pairs.into_iter().find(|it| it.is_ne()).unwrap_or_else(|| one.len().cmp(&other.len()))
        }
        _ => Ordering::Equal,
    }
}

fn rank(value: Option<&Value>) -> u8 {
    match value {
        None => 0,
        Some(Value::Null) => 1,
        Some(Value::Bool(false)) => 2,
        Some(Value::Bool(true)) => 3,
        Some(Value::Number(_)) => 4,
        Some(Value::String(_)) => 5,
        Some(Value::Array(_)) => 6,
        Some(Value::Object(_)) => 7,
    }
}
