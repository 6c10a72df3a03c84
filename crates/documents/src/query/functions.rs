//! The built-in functions: names, numbers of arguments, meanings. Arguments of a wrong type give undefined.

use serde_json::Value;

use super::ast::{Aggregate, Function};
use super::evaluate::{equal, equal_within};
use super::meter::{Meter, weight};

/// Name, function, fewest and most arguments. Names are compared without regard to case.
const FUNCTIONS: [(&str, Function, usize, usize); 19] = [
    ("IS_DEFINED", Function::IsDefined, 1, 1),
    ("IS_NULL", Function::IsNull, 1, 1),
    ("IS_STRING", Function::IsString, 1, 1),
    ("IS_NUMBER", Function::IsNumber, 1, 1),
    ("IS_BOOL", Function::IsBool, 1, 1),
    ("IS_ARRAY", Function::IsArray, 1, 1),
    ("IS_OBJECT", Function::IsObject, 1, 1),
    ("IS_PRIMITIVE", Function::IsPrimitive, 1, 1),
    ("STARTSWITH", Function::StartsWith, 2, 3),
    ("ENDSWITH", Function::EndsWith, 2, 3),
    ("CONTAINS", Function::Contains, 2, 3),
    ("STRINGEQUALS", Function::StringEquals, 2, 3),
    ("ARRAY_CONTAINS", Function::ArrayContains, 2, 3),
    ("ARRAY_LENGTH", Function::ArrayLength, 1, 1),
    ("LENGTH", Function::Length, 1, 1),
    ("LOWER", Function::Lower, 1, 1),
    ("UPPER", Function::Upper, 1, 1),
    ("CONCAT", Function::Concat, 2, 64),
    ("GETCURRENTTIMESTAMP", Function::CurrentTimestamp, 0, 0),
];

/// A function by its name, and how many arguments it takes.
pub(super) fn function(name: &str) -> Option<(Function, std::ops::RangeInclusive<usize>)> {
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

/// Calls a function; `None` is undefined, in arguments as in the answer.
pub(super) fn call(
    function: Function,
    arguments: &[Option<&Value>],
    now_ts: i64,
    meter: &Meter<'_>,
) -> Option<Value> {
    // Texts may be megabytes long, and a query may go over the same one thousands of times.
    let text_bytes = arguments.iter().filter_map(|argument| (*argument)?.as_str()).map(str::len).sum();
    if !meter.handle(text_bytes) {
        return None;
    }
    let first = arguments.first().copied().flatten();
    let truth = |value: bool| Some(Value::Bool(value));
    match function {
        Function::IsDefined => truth(first.is_some()),
        Function::IsNull => truth(first.is_some_and(Value::is_null)),
        Function::IsString => truth(first.is_some_and(Value::is_string)),
        Function::IsNumber => truth(first.is_some_and(Value::is_number)),
        Function::IsBool => truth(first.is_some_and(Value::is_boolean)),
        Function::IsArray => truth(first.is_some_and(Value::is_array)),
        Function::IsObject => truth(first.is_some_and(Value::is_object)),
        Function::IsPrimitive => truth(first.is_some_and(|value| !value.is_array() && !value.is_object())),
        Function::StartsWith => texts(arguments, |one, other| one.starts_with(other)),
        Function::EndsWith => texts(arguments, |one, other| one.ends_with(other)),
        Function::Contains => texts(arguments, |one, other| one.contains(other)),
        Function::StringEquals => texts(arguments, |one, other| one == other),
        Function::ArrayContains => array_contains(arguments, meter),
        Function::ArrayLength => Some(Value::from(first?.as_array()?.len())),
        Function::Length => Some(Value::from(first?.as_str()?.chars().count())),
        Function::Lower => {
            let text = first?.as_str()?;
            meter.build(text_bytes).then(|| Value::from(text.to_lowercase()))
        }
        Function::Upper => {
            let text = first?.as_str()?;
            meter.build(text_bytes).then(|| Value::from(text.to_uppercase()))
        }
        Function::Concat => {
            let parts: Option<Vec<&str>> = arguments.iter().map(|argument| (*argument)?.as_str()).collect();
            let parts = parts?;
            meter.build(text_bytes).then(|| Value::from(parts.concat()))
        }
        Function::CurrentTimestamp => Some(Value::from(now_ts.saturating_mul(1000))),
    }
}

/// A test of two strings, without regard to case if the third argument says so.
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
