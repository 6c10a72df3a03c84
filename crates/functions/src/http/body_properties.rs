//! The top-level properties of a JSON body, as trigger metadata and as values for binding expressions. A body is parsed once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytestring::ByteString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value as Json;
use worker_protocol::TypedData;

/// The largest body whose properties are sent as trigger metadata too. The Azure Functions host has no such limit, but a large body
/// would be sent twice for metadata that few functions read.
pub(super) const METADATA_BODY_BYTES_MAX: usize = 1024 * 1024;

/// A property of a JSON body.
#[derive(Debug, PartialEq)]
pub(super) struct BodyProperty {
    /// What the worker gets.
    pub(super) sent: TypedData,
    /// The value for binding expressions; null if none was asked for.
    pub(super) value: Json,
}

/// Whether a body starts like a JSON object.
pub(super) fn may_have_properties(body: &[u8]) -> bool {
    without_byte_order_mark(body).trim_ascii_start().first() == Some(&b'{')
}

/// The top-level properties of a JSON object, with any media type, in the forms of the Azure Functions host
/// (webjobs-sdk-extensions, `HttpTriggerBinding`): plain values as text (fractions in their shortest form, `True` and `False` with
/// capitals), objects and arrays as JSON. `null` is omitted, and so are values larger than [`METADATA_BODY_BYTES_MAX`].
///
/// Names that differ only by case are one property: the first spelling of the name with the last value, as in the dictionary of the
/// Azure Functions host. A body that is not JSON has no properties.
pub(super) fn body_properties(body: &[u8], needs_values: bool) -> Vec<(String, BodyProperty)> {
    if !may_have_properties(body) {
        return Vec::new();
    }
    let text = std::str::from_utf8(without_byte_order_mark(body)).ok();
    let parsed = text.and_then(|text| ObjectReader { rest: text }.properties(needs_values));
    let properties = parsed.unwrap_or_default().into_iter();
    properties.filter_map(|property| Some((property.name, form(property.text, property.nested)?))).collect()
}

/// The body without a byte order mark.
fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The forms of a value; `nested` is an object or array that was parsed.
fn form(text: &str, nested: Option<Json>) -> Option<BodyProperty> {
    let plain = |text: ByteString| {
        let value = Json::String(text.to_string());
        Some(BodyProperty { sent: TypedData::String(text), value })
    };
    match text {
        _ if text.len() > METADATA_BODY_BYTES_MAX => None,
        "null" => None,
        "true" => plain(ByteString::from_static("True")),
        "false" => plain(ByteString::from_static("False")),
        _ if text.starts_with(['{', '[']) => {
            Some(BodyProperty { sent: TypedData::Json(text.into()), value: nested.unwrap_or_default() })
        }
        _ if text.starts_with('"') => {
            serde_json::from_str::<String>(text).ok().and_then(|text| plain(text.into()))
        }
        number => plain(plain_number(number).into()),
    }
}

/// A JSON number as .NET writes its value, if that is without an exponent.
fn plain_number(text: &str) -> String {
    const PLAIN: std::ops::Range<f64> = 1e-5..1e15;
    let is_fraction = text.contains(['.', 'e', 'E']);
    let value = text.parse::<f64>().ok().filter(|value| is_fraction && PLAIN.contains(&value.abs()));
    value.map_or_else(|| text.to_owned(), |value| value.to_string())
}

/// A property as it was read.
struct Read<'a> {
    name: String,
    text: &'a str,
    nested: Option<Json>,
}

/// Reads the properties of a JSON object with both text and value: `serde_json` gives either a value or its text (`RawValue`), which would
/// have to be parsed again.
struct ObjectReader<'a> {
    rest: &'a str,
}

impl<'a> ObjectReader<'a> {
    /// `None` if the text is not a JSON object.
    fn properties(mut self, needs_values: bool) -> Option<Vec<Read<'a>>> {
        let mut properties: Vec<Read<'a>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        self.punctuation('{')?;
        if self.punctuation('}').is_some() {
            return self.is_at_end().then_some(properties);
        }
        loop {
            let (name, _) = self.value::<String>()?;
            self.punctuation(':')?;
            let (text, nested) = self.property(needs_values)?;
            match places.entry(name.to_ascii_lowercase()) {
                Entry::Occupied(known) => {
                    let known = &mut properties[*known.get()];
                    (known.text, known.nested) = (text, nested);
                }
                Entry::Vacant(place) => {
                    place.insert(properties.len());
                    properties.push(Read { name, text, nested });
                }
            }
            if self.punctuation(',').is_none() {
                self.punctuation('}')?;
                return self.is_at_end().then_some(properties);
            }
        }
    }

    /// The text of the next value, and its value if it is needed and nested.
    fn property(&mut self, needs_values: bool) -> Option<(&'a str, Option<Json>)> {
        self.skip_space();
        if needs_values && self.rest.starts_with(['{', '[']) {
            let before = self.rest;
            if let Some((value, text)) = self.value::<Json>() {
                return Some((text, Some(value)));
            }
            // Nested more deeply than a value may be: no expression can name a part of it, but its text can be sent.
            self.rest = before;
        }
        let (_, text) = self.value::<IgnoredAny>()?;
        Some((text, None))
    }

    /// The next value, with its text.
    fn value<T: Deserialize<'a>>(&mut self) -> Option<(T, &'a str)> {
        self.skip_space();
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<T>();
        let value = values.next()?.ok()?;
        let (text, rest) = self.rest.split_at(values.byte_offset());
        self.rest = rest;
        Some((value, text))
    }

    fn punctuation(&mut self, expected: char) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// The white space of JSON (RFC 8259, section 2).
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &str, needs_values: bool) -> Vec<(String, String, Json)> {
        let text = |sent: TypedData| match sent {
            TypedData::String(text) => format!("text {text}"),
            TypedData::Json(text) => format!("json {text}"),
            other => panic!("{other:?}"),
        };
        let properties = body_properties(body.as_bytes(), needs_values).into_iter();
        properties.map(|(name, property)| (name, text(property.sent), property.value)).collect()
    }

    #[test]
    fn a_nested_value_keeps_its_text_and_is_parsed_only_if_it_is_needed() {
        let body = "\u{feff} {\"id\" : 7.50, \"of\":{\"x\" : [1, 2]},\"on\":true , \"no\":null,\"s\":\"a\\u0041\"} \n";
        let expected = |of: Json| {
            [
                ("id", "text 7.5", json!("7.5")),
                ("of", "json {\"x\" : [1, 2]}", of),
                ("on", "text True", json!("True")),
                ("s", "text aA", json!("aA")),
            ]
            .map(|(name, text, value)| (name.to_owned(), text.to_owned(), value))
        };
        assert_eq!(read(body, true), expected(json!({"x": [1, 2]})));
        assert_eq!(read(body, false), expected(Json::Null));
    }

    #[test]
    fn names_that_differ_by_case_are_the_first_spelling_with_the_last_value() {
        let expected = [("Id".to_owned(), "text 2".to_owned(), json!("2"))];
        assert_eq!(read(r#"{"Id":1,"ID":2}"#, true), expected);
    }

    #[test]
    fn a_value_nested_too_deeply_for_expressions_is_sent_as_text() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let properties = read(&format!("{{\"deep\":{deep},\"id\":\"a\"}}"), true);
        assert_eq!(properties[0], ("deep".to_owned(), format!("json {deep}"), Json::Null));
        assert_eq!(properties[1].1, "text a");
    }

    #[test]
    fn a_body_that_is_not_a_json_object_has_no_properties() {
        for body in [
            "",
            "[1]",
            "{",
            "{}x",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "{\"a\":1}{}",
            "{\"a\":01}",
            "{\"a\":tru}",
        ] {
            assert_eq!(read(body, true), [], "{body}");
            assert_eq!(read(body, false), [], "{body}");
        }
        assert_eq!(body_properties(b"{\"a\":\"\xff\"}", true), []);
        assert_eq!(read("{ }", true), []);
    }
}
