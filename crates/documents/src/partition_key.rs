//! Partition keys: definition, values, extraction from items, and stored form.
//!
//! A missing property (`[{}]` in the header) and a JSON null (`[null]`) are different keys. Numbers are compared as doubles.

use serde_json::{Map, Value};

/// Longest text of a key's values, in bytes.
const KEY_BYTES_MAX: usize = 2048;

/// The properties that form the key of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionKeyDefinition {
    /// One path of property names for each level; empty for a container without a key.
    pub(crate) paths: Vec<Vec<String>>,
}

/// One level of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyComponent {
    /// The property is missing.
    Undefined,
    /// The property is null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number, as a double.
    Number(f64),
    /// A string.
    Text(String),
}

/// The value of a key, one component for each level, or fewer for a prefix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PartitionKey(pub(crate) Vec<KeyComponent>);

/// Why a key or its definition is invalid. The texts are for clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartitionKeyError {
    /// The header is not a JSON array of scalars.
    #[error(
        "the partition key header must be a JSON array of strings, numbers, booleans, null or {{}}, such as [\"x\"]"
    )]
    Header,
    /// An array or object instead of a scalar.
    #[error(
        "the partition key property {0} holds an array or object; only strings, numbers, booleans and null can be keys"
    )]
    NotScalar(String),
    /// Another number of levels than the container's key.
    #[error("the partition key has {given} values, and the container's key has {expected} paths")]
    Levels { given: usize, expected: usize },
    /// Longer than [`KEY_BYTES_MAX`].
    #[error("the partition key is longer than {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// The container's `partitionKey` is invalid.
    #[error("{0}")]
    Definition(&'static str),
}

impl PartitionKeyDefinition {
    /// Parses the `partitionKey` of a container.
    pub(crate) fn from_json(value: Option<&Value>) -> Result<Self, PartitionKeyError> {
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Err(PartitionKeyError::Definition(
                "the container has no partitionKey; give it one, such as {\"paths\":[\"/pk\"],\"kind\":\"Hash\",\"version\":2}",
            ));
        };
        let paths = value.get("paths").and_then(Value::as_array);
        let Some(paths) = paths.filter(|paths| (1..=3).contains(&paths.len())) else {
            return Err(PartitionKeyError::Definition(
                "partitionKey.paths must be an array of one to three paths",
            ));
        };
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or("Hash");
        match (kind, paths.len()) {
            ("Hash", 1) | ("MultiHash", _) => {}
            ("Hash", _) => {
                return Err(PartitionKeyError::Definition(
                    "partitionKey.kind Hash takes one path; use MultiHash for more",
                ));
            }
            _ => return Err(PartitionKeyError::Definition("partitionKey.kind must be Hash or MultiHash")),
        }
        let parsed: Option<Vec<_>> = paths.iter().map(|path| path.as_str().and_then(parse_path)).collect();
        let paths = parsed.ok_or(PartitionKeyError::Definition(
            "each path of partitionKey.paths must start with / and name a property, such as /pk or /a/b or /\"a b\"",
        ))?;
        Ok(Self { paths })
    }

    /// The key of an item.
    pub(crate) fn extract(&self, item: &Map<String, Value>) -> Result<PartitionKey, PartitionKeyError> {
        let components: Result<_, _> = self.paths.iter().map(|path| component_at(path, item)).collect();
        PartitionKey(components?).checked()
    }
}

/// The version of a definition: 1 or 2, as a number or, from Java, as the string `V1` or `V2`.
pub(crate) fn version(value: &Value) -> Result<u64, PartitionKeyError> {
    let number = match value {
        Value::String(text) => match text.to_ascii_uppercase().as_str() {
            "V1" | "1" => Some(1),
            "V2" | "2" => Some(2),
            _ => None,
        },
        Value::Null => Some(1),
        value => value.as_u64().filter(|version| (1..=2).contains(version)),
    };
    number.ok_or(PartitionKeyError::Definition("partitionKey.version must be 1 or 2"))
}

impl PartitionKey {
    /// Parses the header `x-ms-documentdb-partitionkey`. It may be a prefix: see [`PartitionKey::full`].
    pub(crate) fn parse_header(header: &str) -> Result<Self, PartitionKeyError> {
        let values: Vec<Value> = serde_json::from_str(header).map_err(|_| PartitionKeyError::Header)?;
        let components: Option<Vec<_>> = values.iter().map(component_of_header).collect();
        Self(components.ok_or(PartitionKeyError::Header)?).checked()
    }

    /// The key, if it has as many levels as the container's.
    pub(crate) fn full(self, definition: &PartitionKeyDefinition) -> Result<Self, PartitionKeyError> {
        let (given, expected) = (self.0.len(), definition.paths.len());
        if given == expected { Ok(self) } else { Err(PartitionKeyError::Levels { given, expected }) }
    }

    /// The key as it is stored: JSON without spaces, numbers as doubles, so that equal keys have equal texts.
    pub(crate) fn to_text(&self) -> String {
        let mut text = self.prefix_text();
        if text.len() > 1 {
            text.pop();
        }
        text.push(']');
        text
    }

    /// The start of the text of every key that begins with this one: `["a",`.
    pub(crate) fn prefix_text(&self) -> String {
        let mut text = String::from("[");
        for component in &self.0 {
            match component {
                KeyComponent::Undefined => text.push_str("{}"),
                KeyComponent::Null => text.push_str("null"),
                KeyComponent::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
                // Adding zero converts -0 to 0: they are equal as doubles.
                KeyComponent::Number(value) => text.push_str(&Value::from(*value + 0.0).to_string()),
                KeyComponent::Text(value) => text.push_str(&Value::from(value.as_str()).to_string()),
            }
            text.push(',');
        }
        text
    }

    fn checked(self) -> Result<Self, PartitionKeyError> {
        let bytes: usize =
            self.0.iter().map(|part| if let KeyComponent::Text(text) = part { text.len() } else { 8 }).sum();
        if bytes > KEY_BYTES_MAX { Err(PartitionKeyError::TooLong) } else { Ok(self) }
    }
}

/// Splits `/a/"b c"` into property names.
pub(crate) fn parse_path(path: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        rest = rest.strip_prefix('/')?;
        let name = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            rest = &quoted[end + 1..];
            &quoted[..end]
        } else {
            let end = rest.find('/').unwrap_or(rest.len());
            let name = &rest[..end];
            rest = &rest[end..];
            name
        };
        if name.is_empty() {
            return None;
        }
        names.push(name.to_owned());
    }
    (!names.is_empty()).then_some(names)
}

fn component_at(path: &[String], item: &Map<String, Value>) -> Result<KeyComponent, PartitionKeyError> {
    let (first, rest) = path.split_first().expect("a parsed path has at least one name");
    let mut value = item.get(first);
    for name in rest {
        value = value.and_then(Value::as_object).and_then(|object| object.get(name));
    }
    let Some(value) = value else { return Ok(KeyComponent::Undefined) };
    scalar(value).ok_or_else(|| PartitionKeyError::NotScalar(format!("/{}", path.join("/"))))
}

fn component_of_header(value: &Value) -> Option<KeyComponent> {
    if value.as_object().is_some_and(Map::is_empty) { Some(KeyComponent::Undefined) } else { scalar(value) }
}

fn scalar(value: &Value) -> Option<KeyComponent> {
    match value {
        Value::Null => Some(KeyComponent::Null),
        Value::Bool(value) => Some(KeyComponent::Bool(*value)),
        Value::Number(value) => value.as_f64().map(KeyComponent::Number),
        Value::String(value) => Some(KeyComponent::Text(value.clone())),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(paths: &[&str]) -> PartitionKeyDefinition {
        let kind = if paths.len() == 1 { "Hash" } else { "MultiHash" };
        PartitionKeyDefinition::from_json(Some(&json!({"paths": paths, "kind": kind})))
            .expect("a good definition")
    }

    fn check(paths: &[&str], item: &Value, header: &str) {
        let definition = definition(paths);
        let of_item = definition.extract(item.as_object().expect("an object")).expect("a good key");
        let of_header = PartitionKey::parse_header(header).expect("a good header");
        assert_eq!(of_item.to_text(), of_header.to_text(), "{item} {header}");
        assert_eq!(of_header.clone().full(&definition), Ok(of_header));
    }

    #[test]
    fn items_and_headers_give_equal_keys() {
        check(&["/pk"], &json!({"pk": "x"}), r#"["x"]"#);
        check(&["/pk"], &json!({"pk": "é"}), r#"["\u00e9"]"#);
        check(&["/pk"], &json!({"pk": 5}), "[5.0]");
        check(&["/pk"], &json!({"pk": -0.0}), "[0]");
        check(&["/pk"], &json!({"pk": null}), "[null]");
        check(&["/pk"], &json!({}), "[{}]");
        check(&["/a/b"], &json!({"a": {"b": true}}), "[true]");
        check(&["/a/b"], &json!({"a": 1}), "[{}]");
        check(&["/\"a b\""], &json!({"a b": "x"}), r#"["x"]"#);
        check(&["/t", "/u"], &json!({"t": "a"}), r#"["a",{}]"#);
    }

    #[test]
    fn versions_are_numbers_or_strings() {
        for (value, expected) in
            [(json!(1), 1), (json!(2), 2), (json!("V2"), 2), (json!("v1"), 1), (json!(null), 1)]
        {
            assert_eq!(version(&value), Ok(expected), "{value}");
        }
        for wrong in [json!(0), json!(3), json!("V3"), json!(2.5), json!([])] {
            assert!(version(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn missing_and_null_are_different_keys() {
        let text = |header| PartitionKey::parse_header(header).map(|key| key.to_text());
        assert_ne!(text("[{}]"), text("[null]"));
        assert_eq!(text("[]").as_deref(), Ok("[]"));
        assert_eq!(text("x"), Err(PartitionKeyError::Header));
        assert_eq!(text("[[1]]"), Err(PartitionKeyError::Header));
        assert_eq!(text(&format!("[\"{}\"]", "x".repeat(3000))), Err(PartitionKeyError::TooLong));
        let object = json!({"pk": {}});
        let refused = definition(&["/pk"]).extract(object.as_object().expect("an object"));
        assert_eq!(refused, Err(PartitionKeyError::NotScalar("/pk".to_owned())));
        assert!(PartitionKeyDefinition::from_json(Some(&json!({"paths": ["pk"]}))).is_err());
        assert!(
            PartitionKeyDefinition::from_json(Some(&json!({"paths": ["/a", "/b"], "kind": "Hash"}))).is_err()
        );
    }
}
