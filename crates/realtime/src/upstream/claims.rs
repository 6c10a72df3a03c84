//! The claims of a client in the headers of a request. Pure.
//!
//! Both headers list the claims in the order of the token. Claims for which .NET has a long type (`claim_types.rs`) come first
//! under that type, and again at the end under their names in the token, as the real service sends them. The emulator sends the
//! first part only.
//!
//! `X-ASRS-User-Claims` is the classic form: `type: value` items with commas between (reference, 3.2). The real service escapes
//! nothing: a value with a comma looks like further claims (a user who chooses a name could write `x, role: admin`), and a value
//! outside ASCII makes the request fail. Here commas and control characters are percent-encoded, and other characters stay in
//! UTF-8, as ASP.NET Core and the Functions host read them. [`header`] says how to decode it.
//!
//! `X-ASRS-User-Claims-Encoded` is exact: base64 (RFC 4648 section 4, padded) of a JSON array in UTF-8,
//! `[{"type":"name","value":"Müller, Jürgen"}]`, one object for each value. The name and "base64" come from a proposal of the
//! vendor (azure-sdk-for-net, issue 27404); the content was never published, so this form is ours.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_encode_byte;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::claim_types::with_long_types;

/// One claim: a type and one value. Numbers, booleans and objects are written as JSON.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(crate) struct Claim<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    value: Cow<'a, str>,
}

/// Reads the payload of a token. A payload that is not an object has no claims.
pub(crate) fn parse(payload: &str) -> Map<String, Value> {
    serde_json::from_str(payload).unwrap_or_default()
}

/// The claims as an upstream receives them, [`with_long_types`]. A type with several values becomes several claims.
pub(crate) fn listed(claims: &Map<String, Value>) -> Vec<Claim<'_>> {
    let mut listed = Vec::new();
    for (kind, value) in with_long_types(claims.iter().map(|(name, value)| (name.as_str(), value))) {
        push_values(&mut listed, kind, value);
    }
    listed
}

fn push_values<'a>(listed: &mut Vec<Claim<'a>>, kind: &'a str, value: &'a Value) {
    match value {
        Value::Array(values) => listed.extend(values.iter().map(|value| Claim { kind, value: text(value) })),
        value => listed.push(Claim { kind, value: text(value) }),
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        // As .NET formats it.
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

/// The value of `X-ASRS-User-Claims`; `None` without claims.
pub(crate) fn classic(claims: &[Claim<'_>]) -> Option<HeaderValue> {
    let mut text = String::new();
    for Claim { kind, value } in claims {
        if !text.is_empty() {
            // As HttpClient joins the values of one header; readers trim.
            text.push_str(", ");
        }
        push_part(&mut text, kind, true);
        text.push_str(": ");
        push_part(&mut text, value, false);
    }
    if text.is_empty() { None } else { Some(verbatim(&text)) }
}

/// The value of `X-ASRS-User-Claims-Encoded`; `None` without claims.
pub(crate) fn encoded(claims: &[Claim<'_>]) -> Option<HeaderValue> {
    if claims.is_empty() {
        return None;
    }
    let json = serde_json::to_string(claims).expect("texts can be written as JSON");
    Some(HeaderValue::from_str(&STANDARD.encode(json)).expect("base64 is a header value"))
}

/// Whether the token asks for detailed errors (`asrs.s.derror`).
pub(crate) fn asks_for_details(claims: &Map<String, Value>) -> bool {
    match claims.get("asrs.s.derror") {
        Some(Value::Bool(asked)) => *asked,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// A text as a header that can be decoded: control characters, a space at either end, and a `%` before two hexadecimal digits are
/// percent-encoded. Percent-decoding returns the text, so that two texts never have the same header. Most texts stay as they are.
pub(crate) fn header(text: &str) -> HeaderValue {
    let mut escaped = String::with_capacity(text.len());
    push_escaped(&mut escaped, text, |byte| byte.is_ascii_control());
    HeaderValue::from_bytes(escaped.as_bytes()).expect("no control character is left")
}

/// A text that is encoded already, or a secret of another system, unchanged except for control characters, which a header cannot
/// contain.
pub(crate) fn verbatim(text: &str) -> HeaderValue {
    let is_plain = !text.bytes().any(|byte| byte.is_ascii_control());
    if is_plain {
        HeaderValue::from_bytes(text.as_bytes()).expect("it has no control character")
    } else {
        header(text)
    }
}

/// Appends a part of an item, encoded as [`header`] does. If it contains a character that would end the item, that is escaped
/// too, and so is each `%`.
fn push_part(text: &mut String, part: &str, is_type: bool) {
    let ends_type = is_type && part.contains(": ");
    let breaks = |byte: u8| byte == b',' || byte.is_ascii_control() || (ends_type && byte == b' ');
    let is_escaped = part.bytes().any(breaks);
    push_escaped(text, part, |byte| breaks(byte) || (is_escaped && byte == b'%'));
}

fn push_escaped(text: &mut String, part: &str, is_escaped: impl Fn(u8) -> bool) {
    let bytes = part.as_bytes();
    let is_ambiguous = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        bytes[at] == b'%' && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    // Readers of a header trim spaces at both ends of its value.
    let is_end = |at: usize| bytes[at] == b' ' && (at == 0 || at + 1 == bytes.len());
    for (at, character) in part.char_indices() {
        match u8::try_from(character) {
            Ok(byte) if byte.is_ascii() && (is_escaped(byte) || is_ambiguous(at) || is_end(at)) => {
                text.push_str(percent_encode_byte(byte));
            }
            _ => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests;
