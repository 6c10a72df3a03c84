//! `chappe config show`: every value that counts, and where it came from.

use serde_json::json;
use toml::{Table, Value};

use super::error::Origin;
use super::layers::Layers;
use super::schema::OptionAttributes;
use super::sections::Config;

/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// An option with its value.
pub(crate) struct Setting {
    /// Its dotted path, such as `realtime.chat.mode`.
    pub(crate) path: String,
    /// `None` where it is a secret.
    value: Value,
    origin: Option<Origin>,
}

/// All options that have a value, in the order of their paths; those of the top first.
pub(crate) fn settings(config: &Config, layers: &Layers) -> Vec<Setting> {
    let marks = OptionAttributes::of_schema();
    let names: Vec<(String, &str)> = config
        .services
        .iter()
        .filter(|service| !service.id.is_default())
        .map(|service| (format!("{}.", service.id), service.id.service))
        .collect();
    flattened(&config.to_table())
        .into_iter()
        .map(|(path, value)| {
            let value = without_secrets(&marks, &unnamed(&names, &path), value);
            let origin = layers.origin(&path).cloned();
            Setting { path, value, origin }
        })
        .collect()
}

/// Every value that is no table, by its dotted path.
pub(crate) fn flattened(table: &Table) -> Vec<(String, Value)> {
    fn collect(table: &Table, above: &str, found: &mut Vec<(String, Value)>) {
        let is_table = |value: &Value| matches!(value, Value::Table(table) if !table.is_empty());
        for (key, value) in table.iter().filter(|(_, value)| !is_table(value)) {
            found.push((format!("{above}{key}"), value.clone()));
        }
        for (key, value) in table {
            if let Value::Table(below) = value {
                collect(below, &format!("{above}{key}."), found);
            }
        }
    }
    let mut found = Vec::new();
    collect(table, "", &mut found);
    found.retain(|(_, value)| !value.is_table());
    found
}

/// The path as the schema knows it: without the name of a service.
pub(crate) fn unnamed(names: &[(String, &str)], path: &str) -> String {
    let rest =
        names.iter().find_map(|(name, section)| Some(format!("{section}.{}", path.strip_prefix(name)?)));
    rest.unwrap_or_else(|| path.to_owned())
}

fn without_secrets(marks: &OptionAttributes, path: &str, value: Value) -> Value {
    match value {
        _ if marks.is_secret(path) => Value::String(HIDDEN.to_owned()),
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| without_secrets(marks, path, item)).collect())
        }
        Value::Table(table) => {
            let entries = table.into_iter().map(|(key, value)| {
                let value = without_secrets(marks, &format!("{path}.{key}"), value);
                (key, value)
            });
            Value::Table(entries.collect())
        }
        value => value,
    }
}

/// The values as TOML, each with a comment that says where it came from.
pub(crate) fn to_toml(settings: &[Setting]) -> String {
    let (mut text, mut section) = (String::new(), "");
    for Setting { path, value, origin } in settings {
        let (own, key) = path.rsplit_once('.').unwrap_or(("", path));
        if own != section {
            section = own;
            text += &format!("\n[{section}]\n");
        }
        let origin = origin.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string);
        text += &format!("{key} = {value} # {origin}\n");
    }
    text
}

/// The values as JSON.
pub(crate) fn to_json(settings: &[Setting]) -> String {
    let values = settings.iter().map(|Setting { path, value, origin }| {
        let from = match origin {
            None => json!({ "kind": "default" }),
            Some(Origin::File(file, line)) => {
                json!({ "kind": "file", "file": file.display().to_string(), "line": line })
            }
            Some(Origin::Variable(name)) => json!({ "kind": "variable", "name": name }),
            Some(Origin::Flag(flag)) => json!({ "kind": "flag", "flag": flag }),
        };
        json!({ "key": path, "value": value, "from": from })
    });
    json!({ "values": values.collect::<Vec<_>>() }).to_string()
}
