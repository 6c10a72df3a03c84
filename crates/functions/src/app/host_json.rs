//! `host.json`, read leniently. Unknown keys are kept and logged at debug level.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::read::parse_object;
use crate::dynamic_concurrency::ConcurrencySection;
use crate::log::LogLevels;
use crate::retry::RetrySection;
use crate::time_span::parse_time_span;
use functions_contract::find_property;

/// The content of `host.json`, with the overrides of `AzureFunctionsJobHost__a__b` settings.
#[derive(Clone, Debug)]
pub struct HostJson {
    /// The `extensions.http` section.
    pub http: HttpSection,
    /// The longest duration of one invocation; `None` = no limit (`-1`). Default 30 minutes.
    pub function_timeout: Option<Duration>,
    /// The retry policy of functions that declare none.
    pub(crate) retry: Option<RetrySection>,
    /// The `functions` allow-list; `None` = all.
    pub functions: Option<Vec<String>>,
    /// How the deliveries of triggers that run at a time are adjusted.
    pub(crate) concurrency: ConcurrencySection,
    /// The lowest log level of each category.
    pub(crate) log_levels: LogLevels,
    /// The whole file as it was written, with overrides.
    pub all: Map<String, Json>,
}

/// The `extensions.http` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSection {
    /// The prefix of every route. Default `api`.
    pub route_prefix: String,
    /// The limit of active and waiting requests, above which the host responds with 429; `None` = only the host's own limit.
    pub outstanding_requests_max: Option<usize>,
    /// The limit of concurrent invocations by HTTP; further requests wait. `None` = no limit.
    pub concurrent_requests_max: Option<usize>,
    /// Headers added to every response.
    pub custom_headers: Vec<(String, String)>,
}

const KNOWN_KEYS: &[&str] = &[
    "version",
    "functionTimeout",
    "retry",
    "functions",
    "extensions",
    "logging",
    "extensionBundle",
    "watchDirectories",
    "watchFiles",
    "singleton",
    "aggregator",
    "healthMonitor",
    "managedDependency",
    "customHandler",
    "concurrency",
    "telemetryMode",
    "$schema",
];

impl HostJson {
    /// Reads the file's text, with overrides from `settings`.
    pub fn parse<'a>(text: &str, settings: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut all = parse_object(text)?;
        match find_property(&all, "version") {
            Some(Json::String(version)) if version == "2.0" => {}
            Some(found) => {
                return Err(format!(
                    "\"version\" is {found}, but only \"2.0\" is supported; write \"version\": \"2.0\""
                ));
            }
            None => return Err("\"version\" is missing; add \"version\": \"2.0\"".to_owned()),
        }
        for (name, value) in settings {
            if let Some(path) = override_path(name) {
                set_path(&mut all, &path, value);
            }
        }
        Ok(Self {
            http: HttpSection::parse(section(&all, &["extensions", "http"]))?,
            function_timeout: function_timeout(&all)?,
            retry: section(&all, &["retry"]).map(|retry| RetrySection(retry.clone())),
            functions: allow_list(&all)?,
            concurrency: ConcurrencySection::parse(section(&all, &["concurrency"]))?,
            log_levels: LogLevels::parse(section(&all, &["logging", "logLevel"]))?,
            all,
        })
    }

    /// Whether the app declares a custom handler.
    pub(super) fn has_custom_handler(&self) -> bool {
        find_property(&self.all, "customHandler").is_some()
    }

    /// Warnings about content that has no effect here; each is a sentence.
    pub(super) fn notices(&self) -> Vec<String> {
        let unknown: Vec<&str> = self
            .all
            .keys()
            .map(String::as_str)
            .filter(|key| !KNOWN_KEYS.iter().any(|known| known.eq_ignore_ascii_case(key)))
            .collect();
        if !unknown.is_empty() {
            tracing::debug!(keys = unknown.join(", "), "host.json has keys that have no effect here");
        }
        let mut notices = Vec::new();
        if self.has_custom_handler() {
            notices.push(
                "host.json has customHandler, which this version does not support; the functions need a language worker"
                    .to_owned(),
            );
        }
        notices
    }
}

impl HttpSection {
    fn parse(section: Option<&Map<String, Json>>) -> Result<Self, String> {
        let empty = Map::new();
        let section = section.unwrap_or(&empty);
        let route_prefix = match find_property(section, "routePrefix") {
            None | Some(Json::Null) => "api".to_owned(),
            Some(Json::String(prefix)) => prefix.trim_matches('/').to_owned(),
            Some(other) => return Err(format!("extensions.http.routePrefix must be text, not {other}")),
        };
        let custom_headers = match find_property(section, "customHeaders") {
            Some(Json::Object(headers)) => headers
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            route_prefix,
            outstanding_requests_max: limit(section, "maxOutstandingRequests")?,
            concurrent_requests_max: limit(section, "maxConcurrentRequests")?,
            custom_headers,
        })
    }
}

/// The path of an override: `AzureFunctionsJobHost__a__b` and `AzureFunctionsJobHost:a:b` are the same (configuration providers of
/// .NET read a double underscore as a colon).
fn override_path(setting: &str) -> Option<Vec<String>> {
    const PREFIX: &str = "AzureFunctionsJobHost";
    let (prefix, rest) = setting.split_at_checked(PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    let normal = rest.replace("__", ":");
    let path = normal.strip_prefix(':')?;
    let parts: Vec<String> = path.split(':').map(str::to_owned).collect();
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

fn set_path(object: &mut Map<String, Json>, path: &[String], value: &str) {
    let [first, rest @ ..] = path else { return };
    let existing = object.keys().find(|key| key.eq_ignore_ascii_case(first)).cloned();
    let slot = object.entry(existing.unwrap_or_else(|| first.clone())).or_insert(Json::Null);
    if rest.is_empty() {
        *slot = Json::String(value.to_owned());
        return;
    }
    if !slot.is_object() {
        *slot = Json::Object(Map::new());
    }
    if let Json::Object(inner) = slot {
        set_path(inner, rest, value);
    }
}

fn section<'a>(all: &'a Map<String, Json>, path: &[&str]) -> Option<&'a Map<String, Json>> {
    path.iter().try_fold(all, |object, key| find_property(object, key)?.as_object())
}

/// A limit; `-1` = no limit. Overrides are text, so text with a number is accepted.
fn limit(section: &Map<String, Json>, name: &str) -> Result<Option<usize>, String> {
    let found = match find_property(section, name) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => text.trim().parse().ok(),
        Some(other) => other.as_i64(),
    };
    match found {
        Some(-1) => Ok(None),
        Some(limit) if limit > 0 => Ok(Some(usize::try_from(limit).unwrap_or(usize::MAX))),
        _ => Err(format!("extensions.http.{name} must be a number above 0, or -1 for no limit")),
    }
}

fn function_timeout(all: &Map<String, Json>) -> Result<Option<Duration>, String> {
    const DEFAULT: Duration = Duration::from_secs(30 * 60);
    match find_property(all, "functionTimeout") {
        None | Some(Json::Null) => Ok(Some(DEFAULT)),
        Some(Json::String(text)) if text.trim() == "-1" => Ok(None),
        Some(Json::Number(number)) if number.as_i64() == Some(-1) => Ok(None),
        Some(Json::String(text)) => {
            let timeout = parse_time_span(text).filter(|timeout| !timeout.is_zero());
            timeout.map(Some).ok_or_else(|| {
                format!(
                    "functionTimeout \"{text}\" is not a time span; write it as \"hh:mm:ss\", or \"-1\" for no limit"
                )
            })
        }
        Some(other) => Err(format!("functionTimeout must be text such as \"00:05:00\", not {other}")),
    }
}

fn allow_list(all: &Map<String, Json>) -> Result<Option<Vec<String>>, String> {
    match find_property(all, "functions") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(names)) => {
            let names: Option<Vec<String>> =
                names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
            names.map(Some).ok_or_else(|| "\"functions\" must be a list of function names".to_owned())
        }
        // An override sets one element by its index: AzureFunctionsJobHost__functions__0.
        Some(Json::Object(numbered)) => {
            Ok(Some(numbered.values().filter_map(|name| name.as_str().map(str::to_owned)).collect()))
        }
        Some(_) => Err("\"functions\" must be a list of function names".to_owned()),
    }
}
