//! Merges split files as Ocelot does.

use serde_json::Value;

use crate::json;

/// A configuration file: its name without a folder, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationFile {
    /// The name, such as `ocelot.orders.json`.
    pub name: String,
    /// The content.
    pub text: String,
}

impl ConfigurationFile {
    /// True for `ocelot.NAME.json` in any case, the names that Ocelot merges.
    pub fn is_part(name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        name.strip_prefix("ocelot.").is_some_and(|rest| rest.ends_with(".json"))
    }
}

/// Why files could not be read at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcelotReadError {
    /// The text is no JSON.
    #[error("{file} is not valid JSON: {reason}. Comments and trailing commas are allowed")]
    Json {
        /// The file.
        file: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The document is no object.
    #[error(
        "{file} must hold one JSON object with Routes, DynamicRoutes, Aggregates and GlobalConfiguration"
    )]
    NotAnObject {
        /// The file.
        file: String,
    },
    /// No file was given.
    #[error(
        "there is no Ocelot configuration: neither ocelot.json nor ocelot.NAME.json; give the name of the file"
    )]
    NoFile,
}

/// The sections of all files, each entry with the file that it comes from.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) routes: Vec<SectionEntry>,
    pub(crate) dynamic_routes: Vec<SectionEntry>,
    pub(crate) aggregates: Vec<SectionEntry>,
    pub(crate) global: Option<SectionEntry>,
    /// Sections that no entry was read from: unknown ones, and those of the wrong type.
    pub(crate) unread: Vec<(String, String, Unread)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Unknown,
    NotAList,
    NotAnObject,
    GlobalElsewhere,
}

#[derive(Clone, Debug)]
pub(crate) struct SectionEntry {
    pub(crate) file: String,
    /// The position in the section of its file.
    pub(crate) index: usize,
    pub(crate) value: Value,
}

const GLOBAL_FILE: &str = "ocelot.global.json";

/// Reads one file completely, or merges several: lists are joined in the order of the files, and `GlobalConfiguration` comes from
/// `ocelot.global.json` only.
pub(crate) fn merge(files: &[ConfigurationFile]) -> Result<Merged, OcelotReadError> {
    if files.is_empty() {
        return Err(OcelotReadError::NoFile);
    }
    let mut merged = Merged::default();
    for file in files {
        let document = json::parse(&file.text)
            .map_err(|error| OcelotReadError::Json { file: file.name.clone(), reason: error.to_string() })?;
        let Value::Object(sections) = document else {
            return Err(OcelotReadError::NotAnObject { file: file.name.clone() });
        };
        let global = files.len() == 1 || file.name.eq_ignore_ascii_case(GLOBAL_FILE);
        for (name, value) in sections {
            add(&mut merged, &file.name, &name, value, global);
        }
    }
    Ok(merged)
}

fn add(merged: &mut Merged, file: &str, name: &str, value: Value, global: bool) {
    let unread = |why| (file.to_owned(), name.to_owned(), why);
    let list = match name.to_ascii_lowercase().as_str() {
        // `ReRoutes` is the name of versions before 15.
        "routes" | "reroutes" => &mut merged.routes,
        "dynamicroutes" | "dynamicreroutes" => &mut merged.dynamic_routes,
        "aggregates" => &mut merged.aggregates,
        "globalconfiguration" if !global => {
            merged.unread.push(unread(Unread::GlobalElsewhere));
            return;
        }
        "globalconfiguration" => {
            match value {
                Value::Object(_) => {
                    merged.global = Some(SectionEntry { file: file.to_owned(), index: 0, value });
                }
                Value::Null => {}
                _ => merged.unread.push(unread(Unread::NotAnObject)),
            }
            return;
        }
        _ => {
            merged.unread.push(unread(Unread::Unknown));
            return;
        }
    };
    match value {
        Value::Array(values) => {
            let entries = values.into_iter().enumerate();
            list.extend(entries.map(|(index, value)| SectionEntry { file: file.to_owned(), index, value }));
        }
        Value::Null => {}
        _ => merged.unread.push(unread(Unread::NotAList)),
    }
}
