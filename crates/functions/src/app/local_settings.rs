//! `local.settings.json`: the settings of an app on a developer's machine.

use serde_json::{Map, Value as Json};

use super::read::parse_object;
use functions_contract::find_property;

/// The content of `local.settings.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalSettings {
    /// App settings, in the file's order.
    pub values: Vec<(String, String)>,
    /// Connection strings by name.
    pub connection_strings: Vec<(String, String)>,
    /// `Host.LocalHttpPort`.
    pub http_port: Option<u16>,
    /// `Host.CORS`: origins, or `*`.
    pub cors_origins: Vec<String>,
    /// `Host.CORSCredentials`.
    pub cors_credentials: bool,
}

impl LocalSettings {
    /// Reads the file's text. The error says what is wrong and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let all = parse_object(text)?;
        if find_property(&all, "IsEncrypted").is_some_and(is_true) {
            return Err("IsEncrypted is true, and only the tool that encrypted the settings can read them; run `func \
                        settings decrypt` in this folder, or write the values in plain and set IsEncrypted to false"
                .to_owned());
        }
        let empty = Map::new();
        let host = find_property(&all, "Host").and_then(Json::as_object).unwrap_or(&empty);
        Ok(Self {
            values: flat(&all, "Values")?,
            connection_strings: connection_strings(&all)?,
            http_port: http_port(host)?,
            cors_origins: origins(host),
            cors_credentials: find_property(host, "CORSCredentials").is_some_and(is_true),
        })
    }
}

fn is_true(value: &Json) -> bool {
    match value {
        Json::Bool(value) => *value,
        Json::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn flat(all: &Map<String, Json>, name: &str) -> Result<Vec<(String, String)>, String> {
    let Some(section) = find_property(all, name) else { return Ok(Vec::new()) };
    let Json::Object(section) = section else {
        return Err(format!("\"{name}\" must be an object of names and texts"));
    };
    section
        .iter()
        .map(|(key, value)| match value {
            Json::String(text) => Ok((key.clone(), text.clone())),
            Json::Number(_) | Json::Bool(_) => Ok((key.clone(), value.to_string())),
            Json::Null => Ok((key.clone(), String::new())),
            Json::Array(_) | Json::Object(_) => Err(format!(
                "\"{name}\".\"{key}\" is not text; settings are flat: write nested names as a__b, or the JSON as text"
            )),
        })
        .collect()
}

/// Accepts both forms: `"name": "string"` and `"name": { "ConnectionString": "string", "ProviderName": ".." }`.
fn connection_strings(all: &Map<String, Json>) -> Result<Vec<(String, String)>, String> {
    let Some(Json::Object(section)) = find_property(all, "ConnectionStrings") else { return Ok(Vec::new()) };
    section
        .iter()
        .map(|(name, value)| {
            let text = match value {
                Json::String(text) => Some(text.as_str()),
                Json::Object(parts) => find_property(parts, "ConnectionString").and_then(Json::as_str),
                _ => None,
            };
            let text = text.ok_or_else(|| format!("\"ConnectionStrings\".\"{name}\" is not text"))?;
            Ok((name.clone(), text.to_owned()))
        })
        .collect()
}

fn http_port(host: &Map<String, Json>) -> Result<Option<u16>, String> {
    let port = match find_property(host, "LocalHttpPort") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => text.trim().parse().ok(),
        Some(other) => other.as_u64().and_then(|port| u16::try_from(port).ok()),
    };
    port.map(Some).ok_or_else(|| "\"Host\".\"LocalHttpPort\" must be a port number, 0 to 65535".to_owned())
}

fn origins(host: &Map<String, Json>) -> Vec<String> {
    match find_property(host, "CORS") {
        Some(Json::String(list)) => split_origins(list),
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).flat_map(split_origins).collect(),
        _ => Vec::new(),
    }
}

fn split_origins(list: &str) -> Vec<String> {
    list.split(',')
        .map(|origin| origin.trim().trim_end_matches('/').to_owned())
        .filter(|o| !o.is_empty())
        .collect()
}
