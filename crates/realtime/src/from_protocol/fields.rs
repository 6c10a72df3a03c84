//! JSON objects whose names are compared without case, as .NET does: one SDK writes `Target`, another `target`. Values are not
//! parsed, because most of them are only passed on.

use std::borrow::Cow;

use signalr_protocol::{JsonError, JsonReader, JsonToken};

/// The properties of an object, with unparsed values. If a name occurs twice, the last value is used.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a str)>);

/// A name and a string.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Why a body, or a part of it, is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FieldsError {
    #[error("it is not UTF-8")]
    NotUtf8,
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error("{0} is expected")]
    Other(&'static str),
    #[error("{name} must be {expected}")]
    Field { name: &'static str, expected: &'static str },
}

/// The text of a JSON body, without the byte order mark that some SDKs and editors write.
pub(super) fn json_text(body: &[u8]) -> Result<&str, FieldsError> {
    let text = std::str::from_utf8(body).map_err(|_| FieldsError::NotUtf8)?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The elements of an array, unparsed.
pub(crate) fn elements(json: &str) -> Result<Vec<&str>, FieldsError> {
    let mut reader = JsonReader::new(json);
    if reader.token()? != JsonToken::Array {
        return Err(FieldsError::Other("an array"));
    }
    let mut elements = Vec::new();
    while reader.element(elements.is_empty())? {
        elements.push(reader.raw()?);
    }
    reader.end()?;
    Ok(elements)
}

/// The value of a JSON string; `None` for any other value.
pub(crate) fn string(value: &str) -> Option<Cow<'_, str>> {
    match JsonReader::new(value).token() {
        Ok(JsonToken::Text(text)) => Some(text.lossy()),
        _ => None,
    }
}

impl<'a> Fields<'a> {
    pub(super) fn parse(json: &'a str) -> Result<Self, FieldsError> {
        let mut reader = JsonReader::new(json);
        if reader.token()? != JsonToken::Object {
            return Err(FieldsError::Other("an object"));
        }
        let mut fields = Vec::new();
        while let Some(name) = reader.member(fields.is_empty())? {
            fields.push((name.lossy(), reader.raw()?));
        }
        reader.end()?;
        Ok(Self(fields))
    }

    /// The unparsed value of a property; `None` if it is absent or null.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().rev().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value).filter(|value| *value != "null")
    }

    pub(super) fn string(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, FieldsError> {
        let read = |value| string(value).ok_or(FieldsError::Field { name, expected: "a string" });
        self.raw(name).map(read).transpose()
    }

    pub(super) fn boolean(&self, name: &'static str) -> Result<Option<bool>, FieldsError> {
        let read =
            |value: &str| value.parse().map_err(|_| FieldsError::Field { name, expected: "true or false" });
        self.raw(name).map(read).transpose()
    }

    /// The properties of an object property, each a string.
    pub(super) fn strings(&self, name: &'static str) -> Result<Option<Vec<Pair<'a>>>, FieldsError> {
        let wrong = || FieldsError::Field { name, expected: "an object of strings" };
        let Some(value) = self.raw(name) else { return Ok(None) };
        let fields = Fields::parse(value).map_err(|_| wrong())?;
        let read = |(name, value): (Cow<'a, str>, &'a str)| Ok((name, string(value).ok_or_else(wrong)?));
        fields.0.into_iter().map(read).collect::<Result<_, _>>().map(Some)
    }
}
