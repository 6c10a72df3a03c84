//! Equality of two values.

use serde_json::Value;

use super::meter::{Meter, weight};

/// [`equal`] with its cost; `None` if the meter does not allow the comparison.
pub(super) fn equal_within(one: &Value, other: &Value, meter: &Meter<'_>) -> Option<bool> {
    let bytes = match (one, other) {
        (Value::String(one), Value::String(other)) if one.len() == other.len() => one.len(),
        (Value::Array(one_elements), Value::Array(other)) if one_elements.len() == other.len() => weight(one),
        (Value::Object(one_properties), Value::Object(other)) if one_properties.len() == other.len() => {
            weight(one)
        }
        _ => 0,
    };
    meter.handle(bytes).then(|| equal(one, other))
}

/// Deep equality, with numbers as doubles. Values of different types are unequal, null and another value among them: the
/// documentation's table says undefined, the engine (and .NET's own evaluator) says false. So `c.name != null` finds the items
/// that have a name, which is how LINQ asks for them.
pub(super) fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same =
                |(name, value): (&String, &Value)| other.get(name).is_some_and(|there| equal(value, there));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => false,
    }
}
