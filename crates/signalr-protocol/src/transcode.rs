//! Values from JSON to MessagePack and back, for clients of one hub that speak different protocols.
//!
//! Whole numbers stay whole over all of i64 and u64. What JSON cannot say is written as JSON clients expect it: binary as base64,
//! timestamps as RFC 3339 text, not-a-number and infinities as null.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rmp::encode;

use crate::json::reader::{JsonError, JsonReader, JsonToken};
use crate::json::text::{JsonText, write_text as write_json_text};
use crate::message::ParseError;
use crate::msgpack::reader::{Reader, Token};

/// How deep values may nest; deeper ones are refused in both directions.
pub const DEPTH_MAX: usize = 127;

const INFALLIBLE: &str = "a vector takes every byte";

/// Why a value cannot be translated.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// The source is not JSON.
    #[error("the value is not JSON")]
    Json(#[source] JsonError),
    /// The source is not MessagePack.
    #[error("the value is not MessagePack")]
    MessagePack(#[source] ParseError),
    /// The value nests deeper than [`DEPTH_MAX`].
    #[error("the value nests deeper than {DEPTH_MAX} levels")]
    Depth,
    /// More than one value was given.
    #[error("bytes follow the value")]
    Trailing,
    /// A key of a map is a map or an array, which JSON cannot say.
    #[error("a key of a map is neither text nor a number")]
    Key,
}

/// Appends the MessagePack form of one JSON value, in one pass. Halves of surrogate pairs become the three bytes that JavaScript's
/// encoders write for them, numbers beyond every floating point number infinity, as in JavaScript. On an error `out` may hold a part of it.
pub fn json_to_msgpack(json: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut reader = JsonReader::new(text(json)?);
    write_msgpack(&mut reader, out, 0)?;
    reader.end().map_err(|_| TranscodeError::Trailing)
}

/// Appends the JSON form of one MessagePack value, in one pass. On an error `out` may hold a part of it.
pub fn msgpack_to_json(msgpack: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut reader = Reader::new(msgpack);
    write_json(&mut reader, out, 0)?;
    if reader.is_empty() { Ok(()) } else { Err(TranscodeError::Trailing) }
}

/// Checks that a text is one JSON value that [`json_to_msgpack`] takes: JSON by its grammar, and not too deep.
pub fn check_json(json: &[u8]) -> Result<(), TranscodeError> {
    let mut reader = JsonReader::new(text(json)?);
    reader.raw().map_err(TranscodeError::Json)?;
    reader.end().map_err(|_| TranscodeError::Trailing)?;
    if reader.deepest() > DEPTH_MAX { Err(TranscodeError::Depth) } else { Ok(()) }
}

fn text(json: &[u8]) -> Result<&str, TranscodeError> {
    std::str::from_utf8(json).map_err(|_| TranscodeError::Json(JsonError::NOT_UTF8))
}

fn write_msgpack(reader: &mut JsonReader<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), TranscodeError> {
    match reader.token().map_err(TranscodeError::Json)? {
        JsonToken::Null => encode::write_nil(out).expect(INFALLIBLE),
        JsonToken::Bool(value) => encode::write_bool(out, value).expect(INFALLIBLE),
        JsonToken::Number(number) => write_number(number, out),
        JsonToken::Text(text) => write_text(text, out),
        JsonToken::Array | JsonToken::Object if depth == DEPTH_MAX => return Err(TranscodeError::Depth),
        JsonToken::Array => {
            let (at, mut count) = (out.len(), 0);
            out.push(0);
            while reader.element(count == 0).map_err(TranscodeError::Json)? {
                write_msgpack(reader, out, depth + 1)?;
                count += 1;
            }
            write_head(out, at, count, [0x90, 0xdc, 0xdd]);
        }
        JsonToken::Object => {
            let (at, mut count) = (out.len(), 0);
            out.push(0);
            while let Some(name) = reader.member(count == 0).map_err(TranscodeError::Json)? {
                write_text(name, out);
                write_msgpack(reader, out, depth + 1)?;
                count += 1;
            }
            write_head(out, at, count, [0x80, 0xde, 0xdf]);
        }
    }
    Ok(())
}

/// Whole numbers stay whole where 64 bits hold them; all others are floating point numbers, rounded as everywhere.
fn write_number(number: &str, out: &mut Vec<u8>) {
    if let Ok(whole) = number.parse::<u64>() {
        encode::write_uint(out, whole).expect(INFALLIBLE);
    } else if let (Ok(whole), true) = (number.parse::<i64>(), number != "-0") {
        encode::write_sint(out, whole).expect(INFALLIBLE);
    } else {
        // JSON's grammar of numbers is a part of Rust's; what is too large for any is infinite.
        let number = number.parse().unwrap_or(f64::NAN);
        encode::write_f64(out, number).expect(INFALLIBLE);
    }
}

fn write_text(text: JsonText<'_>, out: &mut Vec<u8>) {
    let bytes = text.bytes();
    let length = u32::try_from(bytes.len()).expect("a message is shorter than 4 GiB");
    encode::write_str_len(out, length).expect(INFALLIBLE);
    out.extend_from_slice(&bytes);
}

/// Puts the head of a container, whose elements are already written, in the place of the byte at `at`. JSON does not say how many
/// there will be; a head for more than 15 moves them by two or four bytes.
fn write_head(out: &mut Vec<u8>, at: usize, count: u32, [fix, head16, head32]: [u8; 3]) {
    if let (Ok(count), true) = (u8::try_from(count), count < 16) {
        out[at] = fix | count;
    } else if let Ok(count) = u16::try_from(count) {
        out[at] = head16;
        out.splice(at + 1..at + 1, count.to_be_bytes());
    } else {
        out[at] = head32;
        out.splice(at + 1..at + 1, count.to_be_bytes());
    }
}

fn write_json(reader: &mut Reader<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), TranscodeError> {
    match reader.token().map_err(TranscodeError::MessagePack)? {
        Token::Array(_) | Token::Map(_) if depth == DEPTH_MAX => return Err(TranscodeError::Depth),
        Token::Array(count) => {
            out.push(b'[');
            for index in 0..count {
                if index > 0 {
                    out.push(b',');
                }
                write_json(reader, out, depth + 1)?;
            }
            out.push(b']');
        }
        Token::Map(count) => {
            out.push(b'{');
            for index in 0..count {
                if index > 0 {
                    out.push(b',');
                }
                write_key(reader, out)?;
                out.push(b':');
                write_json(reader, out, depth + 1)?;
            }
            out.push(b'}');
        }
        scalar => write_scalar(&scalar, out),
    }
    Ok(())
}

/// JSON has only text as keys: numbers and the like are put in quotes.
fn write_key(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let token = reader.token().map_err(TranscodeError::MessagePack)?;
    if matches!(token, Token::Array(_) | Token::Map(_)) {
        return Err(TranscodeError::Key);
    }
    let at = out.len();
    write_scalar(&token, out);
    if out[at] != b'"' {
        out.insert(at, b'"');
        out.push(b'"');
    }
    Ok(())
}

fn write_scalar(token: &Token<'_>, out: &mut Vec<u8>) {
    match token {
        Token::Bool(value) => write!(out, "{value}"),
        Token::Unsigned(number) => write!(out, "{number}"),
        Token::Signed(number) => write!(out, "{number}"),
        // serde_json writes the shortest text that reads back as the same number, and null for what is no number.
        Token::F32(number) => serde_json::to_writer(out, number).map_err(Into::into),
        Token::F64(number) => serde_json::to_writer(out, number).map_err(Into::into),
        Token::Text(text) => {
            write_json_text(text, out);
            Ok(())
        }
        Token::Extension(-1, bytes) if timestamp(bytes).is_some() => {
            let (seconds, nanoseconds) = timestamp(bytes).expect("the guard has just read it");
            write_timestamp(seconds, nanoseconds, out)
        }
        Token::Binary(bytes) | Token::Extension(_, bytes) => write!(out, "\"{}\"", BASE64.encode(bytes)),
        Token::Nil | Token::Array(_) | Token::Map(_) => out.write_all(b"null"),
    }
    .expect(INFALLIBLE);
}

/// The timestamp extension of MessagePack: seconds since the Unix epoch, and nanoseconds.
pub(crate) fn timestamp(bytes: &[u8]) -> Option<(i64, u32)> {
    let (seconds, nanoseconds) = match bytes.len() {
        4 => (u32::from_be_bytes(bytes.try_into().ok()?).into(), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(both & 0x3_ffff_ffff).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanoseconds, seconds) = bytes.split_first_chunk::<4>()?;
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(*nanoseconds))
        }
        _ => return None,
    };
    // Years 0001 to 9999, which is what RFC 3339 can say.
    let representable = (-62_135_596_800..=253_402_300_799).contains(&seconds) && nanoseconds < 1_000_000_000;
    representable.then_some((seconds, nanoseconds))
}

fn write_timestamp(seconds: i64, nanoseconds: u32, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The proleptic Gregorian calendar counted in eras of 400 years that begin on 1 March, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    write!(out, "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
    if nanoseconds > 0 {
        let digits = format!("{nanoseconds:09}");
        write!(out, ".{}", digits.trim_end_matches('0'))?;
    }
    out.write_all(b"Z\"")
}

#[cfg(test)]
mod tests;
