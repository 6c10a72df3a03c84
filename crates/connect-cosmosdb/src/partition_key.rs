//! Partition keys: the header that names the partition of a document, from the container's definition.

use serde_json::{Map, Value as Json};

/// The partition key definition of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionKeyDefinition {
    /// One path, or several for a hierarchical key; each split into its property names. Empty for a container without a
    /// key, or with a system key.
    paths: Vec<Vec<String>>,
}

impl PartitionKeyDefinition {
    /// Reads the `partitionKey` property of a container.
    pub(crate) fn parse(container: &Map<String, Json>) -> Self {
        let definition = container.get("partitionKey").and_then(Json::as_object);
        let system = definition.and_then(|key| key.get("systemKey")).and_then(Json::as_bool).unwrap_or(false);
        let paths = definition.and_then(|key| key.get("paths")).and_then(Json::as_array);
        let paths = paths.filter(|_| !system).into_iter().flatten().filter_map(Json::as_str);
        Self { paths: paths.map(split_path).collect() }
    }

    /// The property, if the key is one property at the top level: `id` for `/id`.
    pub(crate) fn single_property(&self) -> Option<&str> {
        match self.paths.as_slice() {
            [path] if path.len() == 1 => Some(&path[0]),
            _ => None,
        }
    }

    /// The header value for a document. An absent property is `{}`, which is another key than `null`.
    pub(crate) fn header_of_document(&self, document: &Map<String, Json>) -> String {
        let values = self.paths.iter().map(|path| match lookup(document, path) {
            Some(value @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_))) => value.clone(),
            Some(Json::Array(_) | Json::Object(_)) | None => Json::Object(Map::new()),
        });
        header(&Json::Array(values.collect()))
    }
}

/// The header value for a key; `None` is the key of documents without the property.
pub(crate) fn header_for(key: Option<&str>) -> String {
    let value = key.map_or_else(|| Json::Object(Map::new()), |text| Json::String(text.to_owned()));
    header(&Json::Array(vec![value]))
}

/// Header values are ASCII: other characters are escaped as `\uXXXX`.
fn header(key: &Json) -> String {
    let mut ascii = String::new();
    for character in key.to_string().chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            ascii.push_str(&format!("\\u{unit:04x}"));
        }
    }
    ascii
}

fn lookup<'a>(document: &'a Map<String, Json>, path: &[String]) -> Option<&'a Json> {
    let (first, rest) = path.split_first()?;
    let mut value = document.get(first)?;
    for name in rest {
        value = value.as_object()?.get(name)?;
    }
    Some(value)
}

/// `/a/b` and `/"a b"`; a quoted name may contain slashes.
fn split_path(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = path.strip_prefix('/').unwrap_or(path);
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (name, after) = match quoted {
            Some((name, after)) => (name, after),
            None => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        };
        names.push(name.to_owned());
        rest = after.strip_prefix('/').unwrap_or(after);
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_header_contains_the_partition_key_of_the_document() {
        let check = |paths: Json, document: Json, expected: &str| {
            let container = json!({ "partitionKey": { "paths": paths } });
            let definition = PartitionKeyDefinition::parse(container.as_object().unwrap());
            assert_eq!(definition.header_of_document(document.as_object().unwrap()), expected, "{document}");
        };
        check(json!(["/pk"]), json!({"pk": "x"}), r#"["x"]"#);
        check(json!(["/pk"]), json!({"pk": 5.0}), "[5.0]");
        check(json!(["/pk"]), json!({"pk": null}), "[null]");
        check(json!(["/pk"]), json!({}), "[{}]");
        check(json!(["/a/b"]), json!({"a": {"b": true}}), "[true]");
        check(json!(["/\"a b\""]), json!({"a b": "é😀"}), r#"["\u00e9\ud83d\ude00"]"#);
        check(json!(["/a", "/b"]), json!({"a": "1"}), r#"["1",{}]"#);
        check(json!([]), json!({"a": "1"}), "[]");
    }

    #[test]
    fn a_system_key_has_no_value() {
        let container = json!({ "partitionKey": { "paths": ["/_partitionKey"], "systemKey": true } });
        let definition = PartitionKeyDefinition::parse(container.as_object().unwrap());
        assert_eq!(definition.header_of_document(&Map::new()), "[]");
    }
}
