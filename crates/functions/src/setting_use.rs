//! The app settings that the bindings of an app name, and which of them are missing.

use std::fmt;

use serde_json::{Map, Value as Json};
use worker_protocol::{BindingInfo, FunctionMetadata};

use crate::app::{LocalSettings, MergedSettings};
use crate::closest_name::closest_name;
use crate::expression::named_settings;
use crate::function::is_literal;
use functions_contract::{AppSettings, BindingSpec, ConnectionSetting, Direction, find_property};

/// A setting that bindings name: as their connection, or as `%NAME%`.
///
/// Its `Display` text says that it is missing, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingUse {
    /// Its name.
    pub name: String,
    /// The functions whose bindings name it, in the app's order.
    pub functions: Vec<String>,
    /// Whether it has a value.
    pub is_set: bool,
    /// The existing setting with the most similar name, if this one is missing.
    pub closest: Option<String>,
    /// An example value.
    pub example: String,
}

impl SettingUse {
    /// The complete line for `Values` in `local.settings.json`. The comma at its end is valid on the last line too: these files
    /// are read leniently.
    pub fn line(&self) -> String {
        format!("{}: {},", Json::from(self.name.as_str()), Json::from(self.example.as_str()))
    }
}

impl fmt::Display for SettingUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noun, verb) =
            if self.functions.len() == 1 { ("function", "needs") } else { ("functions", "need") };
        write!(
            f,
            "the setting {:?} is missing: the {noun} {} {verb} it",
            self.name,
            self.functions.join(", ")
        )?;
        if let Some(closest) = &self.closest {
            write!(f, "; did you mean {closest:?}, which exists?")?;
        }
        write!(
            f,
            "\nAdd this line to \"Values\" in local.settings.json, or set it in the environment:\n    {}",
            self.line()
        )
    }
}

/// Every setting that the bindings of `functions` name, each once, in the order of their first use. `connections` returns the
/// settings from which the connection of a binding is read.
pub(crate) fn settings_used(
    functions: &[FunctionMetadata],
    settings: &MergedSettings,
    local: &LocalSettings,
    connections: impl Fn(&BindingSpec) -> Vec<ConnectionSetting>,
) -> Vec<SettingUse> {
    let mut uses: Vec<SettingUse> = Vec::new();
    let mut add = |function: &str, name: &str, is_set: bool, example: String| match uses
        .iter_mut()
        .find(|known| known.name == name)
    {
        Some(known) if known.functions.iter().any(|other| other == function) => {}
        Some(known) => known.functions.push(function.to_owned()),
        None => {
            let closest = if is_set {
                None
            } else {
                closest_name(name, candidates(settings, local)).map(str::to_owned)
            };
            uses.push(SettingUse {
                name: name.to_owned(),
                functions: vec![function.to_owned()],
                is_set,
                closest,
                example,
            });
        }
    };
    for function in functions {
        for raw in &function.raw_bindings {
            let Ok(Json::Object(properties)) = serde_json::from_str(raw) else { continue };
            let kind = find_property(&properties, "type").and_then(Json::as_str).unwrap_or_default();
            let named = names_in(&properties).into_iter();
            for (property, name) in named.filter(|(property, _)| !is_literal(kind, property)) {
                add(&function.name, &name, settings.get(&name).is_some(), example_of(&property).to_owned());
            }
            for ConnectionSetting { name, example, alternative } in
                spec(&function.name, raw, properties).iter().flat_map(&connections)
            {
                // A name with %...% is itself a use, which was recorded above.
                if named_settings(&name).is_empty() {
                    let is_set = settings.has_connection(&name)
                        || alternative.is_some_and(|prefix| !settings.names_below(prefix).is_empty());
                    add(&function.name, &name, is_set, example);
                }
            }
        }
    }
    uses
}

fn spec(function: &str, raw: &str, properties: Map<String, Json>) -> Option<BindingSpec> {
    let (name, info) = BindingInfo::parse(raw)?;
    let direction = match info.direction {
        worker_protocol::Direction::In => Direction::In,
        worker_protocol::Direction::Out => Direction::Out,
        worker_protocol::Direction::InOut => return None,
    };
    Some(BindingSpec { function: function.to_owned(), name, kind: info.kind, direction, properties })
}

/// Each `%NAME%` with the property that contains it, at any depth.
fn names_in(properties: &Map<String, Json>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<(&str, &Json)> =
        properties.iter().rev().map(|(property, value)| (property.as_str(), value)).collect();
    while let Some((property, value)) = waiting.pop() {
        match value {
            Json::String(text) => {
                found.extend(
                    named_settings(text).into_iter().map(|name| (property.to_owned(), name.to_owned())),
                );
            }
            Json::Array(items) => waiting.extend(items.iter().rev().map(|item| (property, item))),
            Json::Object(inner) => {
                waiting.extend(inner.iter().rev().map(|(property, value)| (property.as_str(), value)));
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
    found
}

/// An example for a value that only the author knows.
fn example_of(property: &str) -> &'static str {
    match property.to_ascii_lowercase().as_str() {
        "schedule" => "0 */5 * * * *",
        "databasename" => "database",
        "containername" | "collectionname" => "items",
        "leasecontainername" | "leasecollectionname" => "leases",
        "hubname" => "hub",
        _ => "value",
    }
}

/// The names that a missing one is compared with: those of the file, or of the environment if there is no file.
fn candidates<'a>(settings: &'a MergedSettings, local: &'a LocalSettings) -> Vec<&'a str> {
    let named: Vec<&str> =
        local.values.iter().chain(&local.connection_strings).map(|(name, _)| name.as_str()).collect();
    if named.is_empty() { settings.iter().map(|(name, _)| name).collect() } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, bindings: &[Json]) -> FunctionMetadata {
        FunctionMetadata {
            name: name.to_owned(),
            raw_bindings: bindings.iter().map(Json::to_string).collect(),
            ..FunctionMetadata::default()
        }
    }

    fn connection(spec: &BindingSpec) -> Vec<ConnectionSetting> {
        let named = spec.text("connection").map(str::to_owned);
        let setting =
            |name| ConnectionSetting { name, example: "Endpoint=x;".to_owned(), alternative: Some("Buses:") };
        named.map(setting).into_iter().collect()
    }

    #[test]
    fn each_missing_setting_is_reported_once_with_the_line_to_add() {
        let local = LocalSettings {
            values: vec![
                ("CosmosDbConnection".to_owned(), "x".to_owned()),
                ("Hub".to_owned(), "chat".to_owned()),
            ],
            ..LocalSettings::default()
        };
        let settings = MergedSettings::from_pairs(
            "app",
            [("CosmosDbConnection", "x"), ("Hub", "chat"), ("Bus__uri", "x")],
        );
        let feed = serde_json::json!({"type": "feedTrigger", "name": "a", "direction": "in", "connection": "CosmosDBConnection"});
        let out = serde_json::json!({"type": "feed", "name": "b", "direction": "out", "connection": "CosmosDBConnection",
            "hubName": "%Hub%"});
        let timer =
            serde_json::json!({"type": "timerTrigger", "name": "t", "direction": "in", "schedule": "%Cron%"});
        let bus = serde_json::json!({"type": "feed", "name": "c", "direction": "out", "connection": "Bus"});
        let functions = [
            function("one", &[feed.clone(), out]),
            function("two", &[feed, bus]),
            function("three", &[timer]),
        ];
        let uses = settings_used(&functions, &settings, &local, connection);
        let names: Vec<(&str, bool)> = uses.iter().map(|one| (one.name.as_str(), one.is_set)).collect();
        assert_eq!(names, [("CosmosDBConnection", false), ("Hub", true), ("Bus", true), ("Cron", false)]);
        assert_eq!(
            uses[0].to_string(),
            "the setting \"CosmosDBConnection\" is missing: the functions one, two need it; did you mean \"CosmosDbConnection\", \
             which exists?\nAdd this line to \"Values\" in local.settings.json, or set it in the environment:\n    \
             \"CosmosDBConnection\": \"Endpoint=x;\","
        );
        assert_eq!(uses[3].line(), "\"Cron\": \"0 */5 * * * *\",");
        assert_eq!(uses[3].closest, None);
    }

    #[test]
    fn settings_that_stand_in_for_a_connection_satisfy_it() {
        let feed = serde_json::json!({"type": "feed", "name": "a", "direction": "out", "connection": "Bus"});
        let functions = [function("one", &[feed])];
        for (name, is_set) in [("BUSES__one", true), ("Buses:one", true), ("Busesone", false)] {
            let settings = MergedSettings::from_pairs("app", [(name, "x")]);
            let uses = settings_used(&functions, &settings, &LocalSettings::default(), connection);
            assert_eq!(uses.iter().map(|one| one.is_set).collect::<Vec<_>>(), [is_set], "{name}");
        }
    }

    #[test]
    fn malformed_bindings_are_left_to_validation() {
        let mut broken = function("f", &[serde_json::json!([1])]);
        broken.raw_bindings.push("{".to_owned());
        assert_eq!(
            settings_used(
                &[broken],
                &MergedSettings::from_pairs("app", []),
                &LocalSettings::default(),
                connection
            ),
            []
        );
    }
}
