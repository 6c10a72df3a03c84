//! Evaluates expressions on an item. `None` is SQL's undefined.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::ast::{Expression, Operator};
use super::equality::equal_within;
use super::functions;
use super::meter::{Meter, weight};

/// The inputs of an expression.
#[derive(Clone, Copy)]
pub(super) struct EvaluationScope<'a> {
    /// The item; `None` after aggregation.
    pub(super) root: Option<&'a Value>,
    /// Results of the aggregates, by index.
    pub(super) aggregates: &'a [Option<Value>],
    /// Seconds since the Unix epoch.
    pub(super) now_ts: i64,
    /// Counts the cost of the evaluation. When the budget is used up, everything is undefined, and the row does not count.
    pub(super) meter: &'a Meter<'a>,
}

type Evaluated<'a> = Option<Cow<'a, Value>>;

/// Whether a condition is exactly true.
pub(super) fn is_true(condition: &Expression, scope: &EvaluationScope<'_>) -> bool {
    truth(condition, scope) == Some(true)
}

/// The value of an expression.
pub(super) fn evaluate<'a>(expression: &'a Expression, scope: &EvaluationScope<'a>) -> Evaluated<'a> {
    if !scope.meter.step() {
        return None;
    }
    let own = |value: Value| Some(Cow::Owned(value));
    match expression {
        Expression::Undefined => None,
        Expression::Literal(value) => Some(Cow::Borrowed(value)),
        Expression::Parameter(value) => Some(Cow::Borrowed(value.as_ref())),
        Expression::Root => scope.root.map(Cow::Borrowed),
        Expression::Property(of, name) => member(evaluate(of, scope)?, &Key::Name(name)),
        Expression::Index(of, by) => {
            let (of, by) = (evaluate(of, scope)?, evaluate(by, scope)?);
            match by.as_ref() {
                Value::String(name) => member(of, &Key::Name(name)),
                Value::Number(number) => member(of, &Key::Position(position(number)?)),
                _ => None,
            }
        }
        Expression::Not(_)
        | Expression::And(_)
        | Expression::Or(_)
        | Expression::In(..)
        | Expression::Between(..) => truth(expression, scope).and_then(|value| own(Value::Bool(value))),
        Expression::Negate(of) => number(-evaluate(of, scope)?.as_f64()?).map(Cow::Owned),
        Expression::Binary(operator, one, other) => binary(*operator, one, other, scope),
        Expression::Conditional(condition, one, other) => {
            evaluate(if is_true(condition, scope) { one } else { other }, scope)
        }
        Expression::Array(elements) => {
            let defined = elements.iter().filter_map(|element| owned(evaluate(element, scope)?, scope));
            own(Value::Array(defined.collect()))
        }
        Expression::Object(properties) => own(Value::Object(object(properties, scope))),
        Expression::Call(function, arguments) => {
            let arguments: Vec<_> = arguments.iter().map(|argument| evaluate(argument, scope)).collect();
            let arguments: Vec<_> = arguments.iter().map(Option::as_deref).collect();
            functions::call(*function, &arguments, scope.now_ts, scope.meter).map(Cow::Owned)
        }
        Expression::Aggregate(index) => scope.aggregates.get(*index)?.as_ref().map(Cow::Borrowed),
    }
}

/// An object of expressions; undefined ones are omitted.
pub(super) fn object(properties: &[(String, Expression)], scope: &EvaluationScope<'_>) -> Map<String, Value> {
    let defined = properties
        .iter()
        .filter_map(|(name, expression)| Some((name.clone(), owned(evaluate(expression, scope)?, scope)?)));
    defined.collect()
}

/// A value as part of a new one; `None` if the meter does not allow the copy.
pub(super) fn owned(value: Cow<'_, Value>, scope: &EvaluationScope<'_>) -> Option<Value> {
    match value {
        Cow::Owned(value) => Some(value),
        Cow::Borrowed(value) => scope.meter.build(weight(value)).then(|| value.clone()),
    }
}

/// A number as JSON, an integer if possible. NaN and infinity are undefined.
pub(super) fn number(value: f64) -> Option<Value> {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= WHOLE_MAX {
        // The range was just checked, so the conversion is exact.
        #[allow(clippy::cast_possible_truncation)]
        return Some(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number)
}

enum Key<'k> {
    Name(&'k str),
    Position(usize),
}

fn member<'a>(of: Cow<'a, Value>, key: &Key<'_>) -> Evaluated<'a> {
    match of {
        Cow::Borrowed(value) => match key {
            Key::Name(name) => value.as_object()?.get(*name).map(Cow::Borrowed),
            Key::Position(index) => value.as_array()?.get(*index).map(Cow::Borrowed),
        },
        Cow::Owned(mut value) => match key {
            Key::Name(name) => value.as_object_mut()?.remove(*name).map(Cow::Owned),
            Key::Position(index) => value.as_array_mut()?.get_mut(*index).map(Value::take).map(Cow::Owned),
        },
    }
}

fn position(number: &Number) -> Option<usize> {
    let index = number.as_u64().or_else(|| match number.as_f64() {
        // 1.0 is as good an index as 1.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(value) if value.fract() == 0.0 && (0.0..1e15).contains(&value) => Some(value as u64),
        _ => None,
    });
    usize::try_from(index?).ok()
}

/// Three-valued logic: undefined and values that are not boolean are `None`.
fn truth(condition: &Expression, scope: &EvaluationScope<'_>) -> Option<bool> {
    if !scope.meter.step() {
        return None;
    }
    match condition {
        Expression::Not(of) => truth(of, scope).map(|value| !value),
        Expression::And(parts) => fold(parts, scope, false),
        Expression::Or(parts) => fold(parts, scope, true),
        Expression::In(of, list) => {
            let of = evaluate(of, scope)?;
            let mut outcome = Some(false);
            for candidate in list {
                let candidate = evaluate(candidate, scope);
                match candidate.and_then(|candidate| equal_within(&of, &candidate, scope.meter)) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => outcome = None,
                }
            }
            outcome
        }
        Expression::Between(of, low, high) => {
            let of = evaluate(of, scope);
            let at_least = ordering(of.as_deref(), evaluate(low, scope).as_deref()).map(Ordering::is_ge);
            let at_most = ordering(of.as_deref(), evaluate(high, scope).as_deref()).map(Ordering::is_le);
            match (at_least, at_most) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }
        }
        other => evaluate(other, scope)?.as_bool(),
    }
}

/// AND (`deciding` false) or OR (`deciding` true): one deciding operand decides; otherwise an undefined operand gives undefined.
fn fold(parts: &[Expression], scope: &EvaluationScope<'_>, deciding: bool) -> Option<bool> {
    let mut outcome = Some(!deciding);
    for part in parts {
        match truth(part, scope) {
            Some(value) if value == deciding => return Some(deciding),
            Some(_) => {}
            None => outcome = None,
        }
    }
    outcome
}

fn binary<'a>(
    operator: Operator,
    one: &'a Expression,
    other: &'a Expression,
    scope: &EvaluationScope<'a>,
) -> Evaluated<'a> {
    if operator == Operator::Coalesce {
        return evaluate(one, scope).or_else(|| evaluate(other, scope));
    }
    let (one, other) = (evaluate(one, scope)?, evaluate(other, scope)?);
    let ordered = |test: fn(Ordering) -> bool| {
        let bytes = one.as_str().zip(other.as_str()).map_or(0, |(one, other)| one.len().min(other.len()));
        if !scope.meter.handle(bytes) {
            return None;
        }
        ordering(Some(&one), Some(&other)).map(test).map(Value::Bool)
    };
    let computed = |compute: fn(f64, f64) -> f64| number(compute(one.as_f64()?, other.as_f64()?));
    let value = match operator {
        Operator::Equal => equal_within(&one, &other, scope.meter).map(Value::Bool),
        Operator::NotEqual => equal_within(&one, &other, scope.meter).map(|equal| Value::Bool(!equal)),
        Operator::Less => ordered(Ordering::is_lt),
        Operator::LessOrEqual => ordered(Ordering::is_le),
        Operator::Greater => ordered(Ordering::is_gt),
        Operator::GreaterOrEqual => ordered(Ordering::is_ge),
        Operator::Add => computed(|one, other| one + other),
        Operator::Subtract => computed(|one, other| one - other),
        Operator::Multiply => computed(|one, other| one * other),
        Operator::Divide => computed(|one, other| one / other),
        Operator::Modulo => computed(|one, other| one % other),
        Operator::Concatenate => {
            let (one, other) = (one.as_str()?, other.as_str()?);
            scope.meter.build(one.len() + other.len()).then(|| Value::from([one, other].concat()))
        }
        Operator::Coalesce => unreachable!("answered above, before both sides are asked for"),
    };
    value.map(Cow::Owned)
}

/// The order of two booleans, numbers or strings; undefined for everything else.
fn ordering(one: Option<&Value>, other: Option<&Value>) -> Option<Ordering> {
    match (one?, other?) {
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}
