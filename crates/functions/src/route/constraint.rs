//! Constraints of route parameters.

use fancy_regex::{Regex, RegexBuilder};
use serde_json::Value as Json;

/// One constraint.
#[derive(Clone, Debug)]
pub(super) enum Constraint {
    Int,
    Long,
    Bool,
    Datetime,
    Decimal,
    Double,
    Guid,
    Alpha,
    Required,
    File,
    NonFile,
    /// Shortest and longest, in UTF-16 units, as .NET counts.
    Length(usize, usize),
    /// Smallest and largest.
    Range(i64, i64),
    Regex(Regex),
}

/// The size limit of a compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// The step limit of a match with look-around or back-references; above it, the value does not match.
const REGEX_STEPS_MAX: usize = 100_000;

impl Constraint {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, arguments) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => {
                let inside = rest.strip_suffix(')').ok_or_else(|| format!("'{text}' lacks a ')'"))?;
                (name, Some(inside))
            }
        };
        let number = |text: &str| {
            let parsed = text.trim().parse::<i64>();
            parsed.map_err(|_| format!("'{text}' is not a number, in the constraint {name}"))
        };
        let length = |text: &str| {
            let parsed = text.trim().parse::<usize>();
            parsed.map_err(|_| format!("'{text}' is not a length, in the constraint {name}"))
        };
        let pair = || arguments.and_then(|arguments| arguments.split_once(','));
        let one =
            || arguments.ok_or_else(|| format!("the constraint {name} needs an argument, as in {name}(1)"));
        Ok(match name.to_ascii_lowercase().as_str() {
            "int" => Self::Int,
            "long" => Self::Long,
            "bool" => Self::Bool,
            "datetime" => Self::Datetime,
            "decimal" => Self::Decimal,
            "double" | "float" => Self::Double,
            "guid" => Self::Guid,
            "alpha" => Self::Alpha,
            "required" => Self::Required,
            "file" => Self::File,
            "nonfile" => Self::NonFile,
            "minlength" => Self::Length(length(one()?)?, usize::MAX),
            "maxlength" => Self::Length(0, length(one()?)?),
            "length" => match pair() {
                Some((min, max)) => Self::Length(length(min)?, length(max)?),
                None => {
                    let exact = length(one()?)?;
                    Self::Length(exact, exact)
                }
            },
            "min" => Self::Range(number(one()?)?, i64::MAX),
            "max" => Self::Range(i64::MIN, number(one()?)?),
            "range" => {
                let (min, max) =
                    pair().ok_or("the constraint range needs two arguments, as in range(1,9)")?;
                Self::Range(number(min)?, number(max)?)
            }
            "regex" => Self::Regex(regex(one()?)?),
            _ => {
                return Err(format!(
                    "'{name}' is not a known constraint; use one of int, long, bool, datetime, decimal, double, float, guid, alpha, \
                     required, file, nonfile, length, minlength, maxlength, min, max, range, regex"
                ));
            }
        })
    }

    pub(super) fn allows(&self, text: &str) -> bool {
        match self {
            Self::Int => integer(text).is_some_and(|number| i32::try_from(number).is_ok()),
            Self::Long => integer(text).is_some(),
            Self::Bool => boolean(text).is_some(),
            Self::Datetime => is_datetime(text),
            Self::Decimal => number(text, NumberForm::Decimal).is_some(),
            Self::Double => number(text, NumberForm::Float).is_some(),
            Self::Guid => is_guid(text),
            Self::Alpha => text.bytes().all(|byte| byte.is_ascii_alphabetic()),
            Self::Required => !text.is_empty(),
            Self::File => is_file(text),
            Self::NonFile => !is_file(text),
            Self::Length(min, max) => (*min..=*max).contains(&text.encode_utf16().count()),
            Self::Range(min, max) => integer(text).is_some_and(|number| (*min..=*max).contains(&number)),
            // An expression that exceeds the step limit does not match.
            Self::Regex(regex) => regex.is_match(text).unwrap_or_default(),
        }
    }

    /// The value in the constraint's own type, for binding data.
    pub(super) fn typed(&self, text: &str) -> Option<Json> {
        match self {
            Self::Int | Self::Long | Self::Range(..) => integer(text).map(Json::from),
            Self::Bool => boolean(text).map(Json::from),
            Self::Double => number(text, NumberForm::Float).map(Json::from),
            Self::Decimal => number(text, NumberForm::Decimal).map(Json::from),
            _ => None,
        }
    }
}

/// ASP.NET matches without regard to case, anywhere in the value unless anchored.
fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(&format!("(?i){pattern}"))
        .backtrack_limit(REGEX_STEPS_MAX)
        .delegate_size_limit(REGEX_BYTES_MAX)
        .build();
    built.map_err(|error| format!("the regular expression '{pattern}' cannot be used: {error}"))
}

/// Removes the white space that .NET's number parsers ignore.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r'])
}

/// `NumberStyles.Integer`.
fn integer(text: &str) -> Option<i64> {
    trim(text).parse().ok()
}

/// `Boolean.TryParse`.
fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The number formats of .NET in the invariant culture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberForm {
    /// `NumberStyles.Number`: a sign before or behind, no exponent.
    Decimal,
    /// `NumberStyles.Float` with thousands: a leading sign, an exponent, infinity and NaN.
    Float,
}

fn number(text: &str, form: NumberForm) -> Option<f64> {
    let text = trim(text);
    let text = match (form, text.strip_suffix('-')) {
        (NumberForm::Decimal, Some(digits)) if !digits.starts_with(['-', '+']) => format!("-{digits}"),
        _ => text.to_owned(),
    };
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text.as_str()),
    };
    if form == NumberForm::Float {
        if digits.eq_ignore_ascii_case("infinity") {
            return Some(sign * f64::INFINITY);
        }
        if digits.eq_ignore_ascii_case("nan") {
            return Some(f64::NAN);
        }
    }
    let (whole, rest) = digits.split_at(digits.find(['.', 'e', 'E']).unwrap_or(digits.len()));
    let whole = whole.replace(',', "");
    let is_plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
    };
    let has_digit = whole.bytes().chain(rest.bytes()).any(|byte| byte.is_ascii_digit());
    if !whole.bytes().all(|byte| byte.is_ascii_digit()) || !is_plain(rest) || !has_digit {
        return None;
    }
    if form == NumberForm::Decimal && rest.contains(['e', 'E']) {
        return None;
    }
    format!("{whole}{rest}").parse::<f64>().ok().map(|number| sign * number)
}

/// `Guid.TryParse`: 32 digits, with or without hyphens, the latter also in braces or parentheses.
fn is_guid(text: &str) -> bool {
    let text = text.trim();
    let inner = match (text.as_bytes().first(), text.as_bytes().last()) {
        (Some(b'{'), Some(b'}')) | (Some(b'('), Some(b')')) => &text[1..text.len() - 1],
        _ => return matches!(text.len(), 32 | 36) && uuid::Uuid::try_parse(text).is_ok(),
    };
    inner.len() == 36 && uuid::Uuid::try_parse(inner).is_ok()
}

/// .NET's parser accepts many forms; supported are those that appear in URLs: ISO dates, the invariant `MM/dd/yyyy`, and a time alone
/// (today).
fn is_datetime(text: &str) -> bool {
    const DATES: [&str; 2] = ["%m/%d/%Y", "%Y-%m-%d"];
    const TIMES: [&str; 4] = ["%H:%M", "%H:%M:%S", "%I:%M%p", "%I:%M:%S%p"];
    let text = text.trim();
    if text.parse::<jiff::civil::DateTime>().is_ok() || text.parse::<jiff::Timestamp>().is_ok() {
        return true;
    }
    let is_date = |text: &str| DATES.iter().any(|format| jiff::civil::Date::strptime(format, text).is_ok());
    // `7:32 pm` and `7:32pm` are the same.
    let is_time = |text: &str| {
        let text = text.replace(' ', "").to_ascii_uppercase();
        TIMES.iter().any(|format| jiff::civil::Time::strptime(format, &text).is_ok())
    };
    is_date(text)
        || is_time(text)
        || text.split_once(' ').is_some_and(|(date, time)| is_date(date) && is_time(time))
}

/// A value whose last segment has a dot that is not its last character.
fn is_file(text: &str) -> bool {
    let last = text.rsplit('/').next().unwrap_or(text);
    last.rfind('.').is_some_and(|at| at + 1 < last.len())
}
