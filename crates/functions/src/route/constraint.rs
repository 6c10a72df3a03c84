//! Constraints of route parameters: what a value must look like.

use regex::{Regex, RegexBuilder};
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
    /// Shortest and longest, in characters.
    Length(usize, usize),
    /// Smallest and largest.
    Range(i64, i64),
    Regex(Regex),
}

/// Larger compiled expressions are refused: a route is not the place for them.
const REGEX_BYTES_MAX: usize = 1 << 20;

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
            parsed.map_err(|_| format!("'{text}' is no number, in the constraint {name}"))
        };
        let length = |text: &str| {
            let parsed = text.trim().parse::<usize>();
            parsed.map_err(|_| format!("'{text}' is no length, in the constraint {name}"))
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
                    "'{name}' is no constraint; known are int, long, bool, datetime, decimal, double, float, guid, alpha, \
                     required, file, nonfile, length, minlength, maxlength, min, max, range, regex"
                ));
            }
        })
    }

    pub(super) fn allows(&self, text: &str) -> bool {
        match self {
            Self::Int => text.parse::<i32>().is_ok(),
            Self::Long => text.parse::<i64>().is_ok(),
            Self::Bool => text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false"),
            Self::Datetime => is_datetime(text),
            Self::Decimal => is_decimal(text),
            Self::Double => text.parse::<f64>().is_ok(),
            Self::Guid => uuid::Uuid::try_parse(text.trim_matches(['(', ')'])).is_ok(),
            Self::Alpha => text.bytes().all(|byte| byte.is_ascii_alphabetic()),
            Self::Required => !text.is_empty(),
            Self::File => is_file(text),
            Self::NonFile => !is_file(text),
            Self::Length(min, max) => (*min..=*max).contains(&text.chars().count()),
            Self::Range(min, max) => text.parse::<i64>().is_ok_and(|number| (*min..=*max).contains(&number)),
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    /// The value in the constraint's own type, for binding data.
    pub(super) fn typed(&self, text: &str) -> Option<Json> {
        match self {
            Self::Int | Self::Long | Self::Range(..) => text.parse::<i64>().ok().map(Json::from),
            Self::Bool => Some(Json::Bool(text.eq_ignore_ascii_case("true"))),
            Self::Double | Self::Decimal => text.parse::<f64>().ok().map(Json::from),
            _ => None,
        }
    }
}

/// ASP.NET matches without regard to case, anywhere in the value unless anchored.
fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).case_insensitive(true).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| {
        format!("the regular expression '{pattern}' cannot be used (look-around and back-references are not supported): {error}")
    })
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = whole.replace(',', "");
    !(whole.is_empty() && fraction.is_empty()) && all_digits(&whole) && all_digits(fraction)
}

/// .NET's parser takes many forms; the ones that are written in URLs are ISO dates and the invariant `MM/dd/yyyy`.
fn is_datetime(text: &str) -> bool {
    text.parse::<jiff::civil::DateTime>().is_ok()
        || text.parse::<jiff::Timestamp>().is_ok()
        || ["%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %I:%M%p"].iter().any(|format| {
            jiff::civil::DateTime::strptime(format, text).is_ok()
                || jiff::civil::Date::strptime(format, text).is_ok()
        })
}

/// A value whose last segment has a dot that is not its last character.
fn is_file(text: &str) -> bool {
    let last = text.rsplit('/').next().unwrap_or(text);
    last.rfind('.').is_some_and(|at| at + 1 < last.len())
}
