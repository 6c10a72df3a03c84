//! Transcodes values between JSON and MessagePack, for clients of one hub with different protocols.
//!
//! Integers stay exact over all of i64 and u64. Values without a JSON form are written as JSON clients expect them: binary as
//! base64, timestamps as RFC 3339 text, NaN and infinities as null.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rmp::encode;

use crate::json::reader::{JsonError, JsonReader, JsonToken};
use crate::json::text::{JsonText, write_text as write_json_text};
use crate::msgpack::reader::{MsgpackReader, MsgpackToken};
use crate::parse_error::ParseError;

/// Maximum nesting of values; deeper ones are rejected in both directions.
pub const DEPTH_MAX: usize = 127;

const INFALLIBLE: &str = "writing to a vector cannot fail";

/// Why a value cannot be transcoded.
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
    /// Bytes follow the value.
    #[error("bytes follow the value")]
    Trailing,
    /// A key of a map is a map or an array; JSON has no such keys.
    #[error("a key of a map is neither text nor a number")]
    Key,
}

/// Appends one JSON value as MessagePack, in one pass. As in JavaScript, an unpaired surrogate becomes three bytes, and a number
/// outside the range of 64-bit floating point becomes infinity. After an error `out` may contain a part of the value.
pub fn json_to_msgpack(json: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut reader = JsonReader::new(text(json)?);
    write_msgpack(&mut reader, out, 0)?;
    reader.end().map_err(|_| TranscodeError::Trailing)
}

/// Appends one MessagePack value as JSON, in one pass. After an error `out` may contain a part of the value.
pub fn msgpack_to_json(msgpack: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut reader = MsgpackReader::new(msgpack);
    write_json(&mut reader, out, 0)?;
    if reader.is_empty() { Ok(()) } else { Err(TranscodeError::Trailing) }
}

/// Checks that [`json_to_msgpack`] accepts a text: valid JSON that does not nest too deeply.
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
            write_header(out, at, count, [0x90, 0xdc, 0xdd]);
        }
        JsonToken::Object => {
            let (at, mut count) = (out.len(), 0);
            out.push(0);
            while let Some(name) = reader.member(count == 0).map_err(TranscodeError::Json)? {
                write_text(name, out);
                write_msgpack(reader, out, depth + 1)?;
                count += 1;
            }
            write_header(out, at, count, [0x80, 0xde, 0xdf]);
        }
    }
    Ok(())
}

/// Integers of 64 bits stay exact; all other numbers are rounded to 64-bit floating point.
fn write_number(number: &str, out: &mut Vec<u8>) {
    if let Ok(whole) = number.parse::<u64>() {
        encode::write_uint(out, whole).expect(INFALLIBLE);
    } else if let (Ok(whole), true) = (number.parse::<i64>(), number != "-0") {
        encode::write_sint(out, whole).expect(INFALLIBLE);
    } else {
        // Rust parses every JSON number; one that is too large becomes infinite.
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

/// Replaces the byte at `at` with the header of a container whose elements are already written, because JSON does not have their
/// number at the start. The header for more than 15 elements moves them by two or four bytes.
fn write_header(out: &mut Vec<u8>, at: usize, count: u32, [fix, header16, header32]: [u8; 3]) {
    if let (Ok(count), true) = (u8::try_from(count), count < 16) {
        out[at] = fix | count;
    } else if let Ok(count) = u16::try_from(count) {
        out[at] = header16;
        out.splice(at + 1..at + 1, count.to_be_bytes());
    } else {
        out[at] = header32;
        out.splice(at + 1..at + 1, count.to_be_bytes());
    }
}

fn write_json(reader: &mut MsgpackReader<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), TranscodeError> {
    match reader.token().map_err(TranscodeError::MessagePack)? {
        MsgpackToken::Array(_) | MsgpackToken::Map(_) if depth == DEPTH_MAX => {
            return Err(TranscodeError::Depth);
        }
        MsgpackToken::Array(count) => {
            out.push(b'[');
            for index in 0..count {
                if index > 0 {
                    out.push(b',');
                }
                write_json(reader, out, depth + 1)?;
            }
            out.push(b']');
        }
        MsgpackToken::Map(count) => {
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

/// JSON keys are strings: a scalar key is written in quotes.
fn write_key(reader: &mut MsgpackReader<'_>, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let token = reader.token().map_err(TranscodeError::MessagePack)?;
    if matches!(token, MsgpackToken::Array(_) | MsgpackToken::Map(_)) {
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

fn write_scalar(token: &MsgpackToken<'_>, out: &mut Vec<u8>) {
    match token {
        MsgpackToken::Bool(value) => write!(out, "{value}"),
        MsgpackToken::Unsigned(number) => write!(out, "{number}"),
        MsgpackToken::Signed(number) => write!(out, "{number}"),
        // serde_json writes the shortest text that parses as the same number, and null for NaN.
        MsgpackToken::F32(number) => serde_json::to_writer(out, number).map_err(Into::into),
        MsgpackToken::F64(number) => serde_json::to_writer(out, number).map_err(Into::into),
        MsgpackToken::Text(text) => {
            write_json_text(text, out);
            Ok(())
        }
        MsgpackToken::Extension(-1, bytes) if timestamp(bytes).is_some() => {
            let (seconds, nanoseconds) = timestamp(bytes).expect("the guard has parsed it");
            write_timestamp(seconds, nanoseconds, out)
        }
        MsgpackToken::Binary(bytes) | MsgpackToken::Extension(_, bytes) => {
            write!(out, "\"{}\"", BASE64.encode(bytes))
        }
        MsgpackToken::Nil | MsgpackToken::Array(_) | MsgpackToken::Map(_) => out.write_all(b"null"),
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
    // Years 0001 to 9999, the range of RFC 3339.
    let representable = (-62_135_596_800..=253_402_300_799).contains(&seconds) && nanoseconds < 1_000_000_000;
    representable.then_some((seconds, nanoseconds))
}

fn write_timestamp(seconds: i64, nanoseconds: u32, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The proleptic Gregorian calendar in eras of 400 years that begin on 1 March, so that leap days come last.
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
