//! JSON objects whose names are compared without case, as .NET's readers do: one SDK writes `Target`, another `target`.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The properties of an object, with their values unread. Of two with one name the last counts.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The value of a property, absent and null alike.
    pub(super) fn read<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        match self.raw(name) {
            Some(value) => serde_json::from_str(value.get()).map_err(|error| within(name, &error)),
            None => Ok(None),
        }
    }

    /// The properties of a property, each a text.
    pub(super) fn read_map(&self, name: &str) -> Result<Option<Vec<(String, String)>>, serde_json::Error> {
        let Some(fields) = self.read::<Fields<'_>>(name)? else { return Ok(None) };
        let text = |(name, value): &(Cow<'_, str>, &RawValue)| {
            let value = serde_json::from_str(value.get()).map_err(|error| within(name, &error))?;
            Ok((name.clone().into_owned(), value))
        };
        fields.0.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().rev().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }
}

/// Says of which property an error is. The place that the error names is one within that property, and would mislead.
fn within(name: &str, error: &serde_json::Error) -> serde_json::Error {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    serde::de::Error::custom(format_args!("{name}: {what}"))
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    fields.push((Cow::Owned(name), value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
