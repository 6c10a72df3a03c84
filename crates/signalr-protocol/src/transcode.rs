//! Values from JSON to MessagePack and back, for clients of one hub that speak different protocols.
//!
//! Whole numbers stay whole over all of i64 and u64. What JSON cannot say is written as JSON clients expect it: binary as base64,
//! timestamps as RFC 3339 text, not-a-number and infinities as null.

use std::fmt;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rmp::encode;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::message::ParseError;
use crate::msgpack::reader::{Reader, Token};

/// How deep values may nest; deeper ones are refused in both directions. serde_json stops at the same depth.
pub const DEPTH_MAX: usize = 127;

const INFALLIBLE: &str = "a vector takes every byte";

/// Why a value cannot be translated.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// The source is not JSON, or nests deeper than [`DEPTH_MAX`].
    #[error("the value is not JSON")]
    Json(#[source] serde_json::Error),
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

/// Appends the MessagePack form of one JSON value, in one pass. On an error `out` may hold a part of it.
pub fn json_to_msgpack(json: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    ToMessagePack(out).deserialize(&mut deserializer).map_err(TranscodeError::Json)?;
    deserializer.end().map_err(|_| TranscodeError::Trailing)
}

/// Appends the JSON form of one MessagePack value, in one pass. On an error `out` may hold a part of it.
pub fn msgpack_to_json(msgpack: &[u8], out: &mut Vec<u8>) -> Result<(), TranscodeError> {
    let mut reader = Reader::new(msgpack);
    write_json(&mut reader, out, 0)?;
    if reader.is_empty() { Ok(()) } else { Err(TranscodeError::Trailing) }
}

/// Checks that a text is one JSON value that [`json_to_msgpack`] takes. Looking for brackets does not do: a number beyond all
/// floating point numbers and half of a surrogate pair are JSON by its grammar, and no MessagePack.
pub fn check_json(json: &[u8]) -> Result<(), TranscodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Check.deserialize(&mut deserializer).map_err(TranscodeError::Json)?;
    deserializer.end().map_err(|_| TranscodeError::Trailing)
}

/// How deep the arrays and objects of a JSON text nest. The text must be JSON; then [`json_to_msgpack`] takes it if this is at
/// most [`DEPTH_MAX`].
pub fn json_depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Writes what serde_json reads.
struct ToMessagePack<'o>(&'o mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for ToMessagePack<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ToMessagePack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        encode::write_nil(self.0).expect(INFALLIBLE);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        encode::write_bool(self.0, value).expect(INFALLIBLE);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        encode::write_uint(self.0, value).expect(INFALLIBLE);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        encode::write_sint(self.0, value).expect(INFALLIBLE);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        encode::write_f64(self.0, value).expect(INFALLIBLE);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        encode::write_str(self.0, value).expect(INFALLIBLE);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let at = self.0.len();
        self.0.push(0);
        let mut count = 0;
        while sequence.next_element_seed(ToMessagePack(self.0))?.is_some() {
            count += 1;
        }
        write_head(self.0, at, count, [0x90, 0xdc, 0xdd]).ok_or_else(|| A::Error::custom("too many elements"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let at = self.0.len();
        self.0.push(0);
        let mut count = 0;
        while map.next_key_seed(ToMessagePack(self.0))?.is_some() {
            map.next_value_seed(ToMessagePack(self.0))?;
            count += 1;
        }
        write_head(self.0, at, count, [0x80, 0xde, 0xdf])
            .ok_or_else(|| A::Error::custom("too many properties"))
    }
}

/// Reads all that [`ToMessagePack`] reads, and writes nothing.
struct Check;

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(Check)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry_seed(Check, Check)?.is_some() {}
        Ok(())
    }
}

/// Puts the head of a container, whose elements are already written, in the place of the byte at `at`. JSON does not say how many
/// there will be; a head for more than 15 moves them by two or four bytes.
fn write_head(out: &mut Vec<u8>, at: usize, count: usize, [fix, head16, head32]: [u8; 3]) -> Option<()> {
    if let (Ok(count), true) = (u8::try_from(count), count < 16) {
        out[at] = fix | count;
    } else if let Ok(count) = u16::try_from(count) {
        out[at] = head16;
        out.splice(at + 1..at + 1, count.to_be_bytes());
    } else {
        out[at] = head32;
        out.splice(at + 1..at + 1, u32::try_from(count).ok()?.to_be_bytes());
    }
    Some(())
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
        Token::Text(text) => serde_json::to_writer(out, text).map_err(Into::into),
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
