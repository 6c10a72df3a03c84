//! Evaluates a filter for one connection.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::expression::{Comparison, Condition, FilteredConnection, Number, Text};

impl Condition {
    /// Whether the condition is true. `None` is null: neither true nor false.
    pub(super) fn holds(&self, seen: FilteredConnection<'_>) -> Option<bool> {
        match self {
            Self::Literal(value) => *value,
            Self::And(parts) => all(parts, seen),
            // `a or b` is evaluated as `not (not a and not b)`.
            Self::Or(parts) => any(parts, seen),
            Self::Not(inner) => inner.holds(seen).map(|holds| !holds),
            Self::CompareText(comparison, left, right) => {
                Some(comparison.holds(left.value(seen).as_deref(), right.value(seen).as_deref()))
            }
            Self::CompareNumber(comparison, left, right) => {
                Some(comparison.holds(left.value(seen), right.value(seen)))
            }
            Self::CompareTruth(comparison, left, right) => {
                Some(comparison.holds(left.holds(seen), right.holds(seen)))
            }
            Self::InGroups(text) => {
                Some(text.value(seen).is_some_and(|group| seen.groups.contains(&group.as_ref())))
            }
            Self::TextIn(text, values) => {
                let text = text.value(seen);
                Some(values.iter().any(|value| value.value(seen) == text))
            }
            Self::NumberIn(number, values) => {
                let number = number.value(seen);
                Some(values.iter().any(|value| value.value(seen) == number))
            }
            Self::StartsWith(text, start) => both(text, start, seen, |text, start| text.starts_with(start)),
            Self::EndsWith(text, end) => both(text, end, seen, |text, end| text.ends_with(end)),
            Self::Contains(text, part) => both(text, part, seen, |text, part| text.contains(part)),
        }
    }
}

fn all(parts: &[Condition], seen: FilteredConnection<'_>) -> Option<bool> {
    let mut null = false;
    for part in parts {
        match part.holds(seen) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => null = true,
        }
    }
    (!null).then_some(true)
}

fn any(parts: &[Condition], seen: FilteredConnection<'_>) -> Option<bool> {
    let mut null = false;
    for part in parts {
        match part.holds(seen) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => null = true,
        }
    }
    (!null).then_some(false)
}

fn both(
    left: &Text,
    right: &Text,
    seen: FilteredConnection<'_>,
    holds: impl Fn(&str, &str) -> bool,
) -> Option<bool> {
    Some(holds(&left.value(seen)?, &right.value(seen)?))
}

impl Text {
    fn value<'a>(&'a self, seen: FilteredConnection<'a>) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Literal(value) => Cow::Borrowed(value.as_deref()?),
            Self::User => Cow::Borrowed(seen.user?),
            Self::Connection => Cow::Borrowed(seen.connection),
            Self::Lower(inner) => Cow::Owned(inner.value(seen)?.to_lowercase()),
            Self::Upper(inner) => Cow::Owned(inner.value(seen)?.to_uppercase()),
            Self::Trim(inner) => Cow::Owned(inner.value(seen)?.trim().to_owned()),
            Self::Substring(inner, start, length) => {
                Cow::Owned(substring(&inner.value(seen)?, *start, *length))
            }
            Self::Concat(left, right) => {
                let mut whole = left.value(seen)?.into_owned();
                whole.push_str(&right.value(seen)?);
                Cow::Owned(whole)
            }
        })
    }
}

impl Number {
    fn value(&self, seen: FilteredConnection<'_>) -> Option<i64> {
        match self {
            Self::Literal(value) => *value,
            Self::Length(text) => Some(units(&text.value(seen)?)),
            Self::GroupCount => i64::try_from(seen.groups.len()).ok(),
            Self::IndexOf(text, part) => {
                let (text, part) = (text.value(seen)?, part.value(seen)?);
                Some(text.find(part.as_ref()).map_or(-1, |at| units(&text[..at])))
            }
        }
    }
}

impl Comparison {
    /// Compares two values. Null equals only null, and is neither greater nor less than any value.
    fn holds<T: Ord>(self, left: Option<T>, right: Option<T>) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            _ => match (left, right) {
                (Some(left), Some(right)) => self.orders(left.cmp(&right)),
                _ => false,
            },
        }
    }

    fn orders(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

/// The length in UTF-16 units, as .NET counts it: the real service is a .NET program.
fn units(text: &str) -> i64 {
    i64::try_from(text.encode_utf16().count()).unwrap_or(i64::MAX)
}

/// A part of a text, in UTF-16 units. A negative start is 0; a start after the end returns an empty text.
fn substring(text: &str, start: i64, length: Option<i64>) -> String {
    let start = start.max(0);
    let end = length.map_or(i64::MAX, |length| start.saturating_add(length.max(0)));
    let mut at = 0_i64;
    let mut part = String::new();
    for character in text.chars() {
        if (start..end).contains(&at) {
            part.push(character);
        }
        at += i64::try_from(character.len_utf16()).unwrap_or(1);
    }
    part
}
