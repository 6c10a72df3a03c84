//! The built-in functions: names, argument counts, implementations. Arguments of a wrong type give undefined.

use serde_json::Value;

use super::ast::{Aggregate, SqlFunction};
use super::equality::{equal, equal_within};
use super::meter::{Meter, weight};

/// Name, function, fewest and most arguments. Names are case-insensitive.
const FUNCTIONS: [(&str, SqlFunction, usize, usize); 19] = [
    ("IS_DEFINED", SqlFunction::IsDefined, 1, 1),
    ("IS_NULL", SqlFunction::IsNull, 1, 1),
    ("IS_STRING", SqlFunction::IsString, 1, 1),
    ("IS_NUMBER", SqlFunction::IsNumber, 1, 1),
    ("IS_BOOL", SqlFunction::IsBool, 1, 1),
    ("IS_ARRAY", SqlFunction::IsArray, 1, 1),
    ("IS_OBJECT", SqlFunction::IsObject, 1, 1),
    ("IS_PRIMITIVE", SqlFunction::IsPrimitive, 1, 1),
    ("STARTSWITH", SqlFunction::StartsWith, 2, 3),
    ("ENDSWITH", SqlFunction::EndsWith, 2, 3),
    ("CONTAINS", SqlFunction::Contains, 2, 3),
    ("STRINGEQUALS", SqlFunction::StringEquals, 2, 3),
    ("ARRAY_CONTAINS", SqlFunction::ArrayContains, 2, 3),
    ("ARRAY_LENGTH", SqlFunction::ArrayLength, 1, 1),
    ("LENGTH", SqlFunction::Length, 1, 1),
    ("LOWER", SqlFunction::Lower, 1, 1),
    ("UPPER", SqlFunction::Upper, 1, 1),
    ("CONCAT", SqlFunction::Concat, 2, 64),
    ("GETCURRENTTIMESTAMP", SqlFunction::CurrentTimestamp, 0, 0),
];

/// A function by its name, and how many arguments it takes.
pub(super) fn function(name: &str) -> Option<(SqlFunction, std::ops::RangeInclusive<usize>)> {
    let found = FUNCTIONS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
    Some((found.1, found.2..=found.3))
}

/// An aggregate by its name.
pub(super) fn aggregate(name: &str) -> Option<Aggregate> {
    match name.to_ascii_uppercase().as_str() {
        "COUNT" => Some(Aggregate::Count),
        "SUM" => Some(Aggregate::Sum),
        "AVG" => Some(Aggregate::Average),
        "MIN" => Some(Aggregate::Minimum),
        "MAX" => Some(Aggregate::Maximum),
        _ => None,
    }
}

/// Calls a function; `None` is undefined, in arguments and in the result.
pub(super) fn call(
    function: SqlFunction,
    arguments: &[Option<&Value>],
    now_ts: i64,
    meter: &Meter<'_>,
) -> Option<Value> {
    // Strings may be megabytes long, and a query may process the same one thousands of times.
    let text_bytes = arguments.iter().filter_map(|argument| (*argument)?.as_str()).map(str::len).sum();
    if !meter.handle(text_bytes) {
        return None;
    }
    let first = arguments.first().copied().flatten();
    let truth = |value: bool| Some(Value::Bool(value));
    match function {
        SqlFunction::IsDefined => truth(first.is_some()),
        SqlFunction::IsNull => truth(first.is_some_and(Value::is_null)),
        SqlFunction::IsString => truth(first.is_some_and(Value::is_string)),
        SqlFunction::IsNumber => truth(first.is_some_and(Value::is_number)),
        SqlFunction::IsBool => truth(first.is_some_and(Value::is_boolean)),
        SqlFunction::IsArray => truth(first.is_some_and(Value::is_array)),
        SqlFunction::IsObject => truth(first.is_some_and(Value::is_object)),
        SqlFunction::IsPrimitive => truth(first.is_some_and(|value| !value.is_array() && !value.is_object())),
        SqlFunction::StartsWith => texts(arguments, |one, other| one.starts_with(other)),
        SqlFunction::EndsWith => texts(arguments, |one, other| one.ends_with(other)),
        SqlFunction::Contains => texts(arguments, |one, other| one.contains(other)),
        SqlFunction::StringEquals => texts(arguments, |one, other| one == other),
        SqlFunction::ArrayContains => array_contains(arguments, meter),
        SqlFunction::ArrayLength => Some(Value::from(first?.as_array()?.len())),
        SqlFunction::Length => Some(Value::from(first?.as_str()?.chars().count())),
        SqlFunction::Lower => {
            let text = first?.as_str()?;
            meter.build(text_bytes).then(|| Value::from(text.to_lowercase()))
        }
        SqlFunction::Upper => {
            let text = first?.as_str()?;
            meter.build(text_bytes).then(|| Value::from(text.to_uppercase()))
        }
        SqlFunction::Concat => {
            let parts: Option<Vec<&str>> = arguments.iter().map(|argument| (*argument)?.as_str()).collect();
            let parts = parts?;
            meter.build(text_bytes).then(|| Value::from(parts.concat()))
        }
        SqlFunction::CurrentTimestamp => Some(Value::from(now_ts.saturating_mul(1000))),
    }
}

/// A test of two strings; case-insensitive if the third argument is true.
fn texts(arguments: &[Option<&Value>], test: impl Fn(&str, &str) -> bool) -> Option<Value> {
    let (one, other) = (arguments[0]?.as_str()?, arguments[1]?.as_str()?);
    let ignore_case = match arguments.get(2) {
        None => false,
        Some(flag) => (*flag)?.as_bool()?,
    };
    let holds = if ignore_case { test(&one.to_lowercase(), &other.to_lowercase()) } else { test(one, other) };
    Some(Value::Bool(holds))
}

/// The third argument asks for a partial match: an object of the array that has at least the given properties.
fn array_contains(arguments: &[Option<&Value>], meter: &Meter<'_>) -> Option<Value> {
    let (array, wanted) = (arguments[0]?.as_array()?, arguments[1]?);
    let partial = match arguments.get(2) {
        None => false,
        Some(flag) => (*flag)?.as_bool()?,
    };
    let matches = |element: &Value| match (partial, element, wanted) {
        (true, Value::Object(properties), Value::Object(wanted)) => {
            let same = |(name, wanted): (&String, &Value)| {
                properties.get(name).is_some_and(|value| equal(value, wanted))
            };
            meter.handle(weight(element)) && wanted.iter().all(same)
        }
        _ => meter.step() && equal_within(element, wanted, meter) == Some(true),
    };
    Some(Value::Bool(array.iter().any(matches)))
}
