//! Templates in the files that users of the original have: `settings.json` of the SignalR emulator
//! (`UpstreamSettings.Templates`), and ARM templates (`properties.upstream.templates`, also inside `resources`). Pure.
//!
//! This is a foreign format, read as .NET's configuration reads it: names in any case, comments and trailing commas. Unknown
//! names are reported and ignored.

mod relaxed;

use serde_json::{Map, Value};

use super::options::{Auth, TemplateOptions};

/// The content of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) templates: Vec<TemplateOptions>,
    /// Properties of templates that are not supported.
    pub(crate) ignored: Vec<String>,
}

/// Why a file has no templates.
#[derive(Debug, thiserror::Error)]
pub enum ParseFileError {
    /// The text is not JSON.
    #[error("it is not JSON")]
    Json(#[source] serde_json::Error),
    /// The file has no templates.
    #[error(
        "it has no templates: neither UpstreamSettings.Templates, as the SignalR emulator writes them, nor properties.upstream.templates, as ARM does"
    )]
    NoTemplates,
    /// A property of a template has the wrong type.
    #[error("template {number}: {property} must be {expected}")]
    Property {
        /// The number of the template, counted from 1.
        number: usize,
        /// The property.
        property: &'static str,
        /// The type that it must have.
        expected: &'static str,
    },
}

/// The type of the SignalR resource in an ARM template.
const RESOURCE_TYPE: &str = "Microsoft.SignalRService/signalR";

/// Reads a file of either format.
pub(crate) fn parse(text: &str) -> Result<Parsed, ParseFileError> {
    let root: Value = serde_json::from_str(&relaxed::to_json(text)).map_err(ParseFileError::Json)?;
    let templates = find_templates(&root).ok_or(ParseFileError::NoTemplates)?;
    let mut parsed = Parsed::default();
    for (index, value) in templates.iter().enumerate() {
        let number = index + 1;
        let object = value.as_object().ok_or(ParseFileError::Property {
            number,
            property: "itself",
            expected: "an object",
        })?;
        parsed.templates.push(template(object, number)?);
        let known = ["urltemplate", "eventpattern", "hubpattern", "categorypattern", "auth"];
        let unknown = object.keys().filter(|key| !known.contains(&key.to_ascii_lowercase().as_str()));
        parsed.ignored.extend(unknown.map(|key| format!("template {number}: {key}")));
    }
    Ok(parsed)
}

fn find_templates(root: &Value) -> Option<&Vec<Value>> {
    let below = |root, path: &[&str]| path.iter().try_fold(root, |value, name| get(value, name));
    let paths: [&[&str]; 4] = [
        &["UpstreamSettings", "Templates"],
        &["properties", "upstream", "templates"],
        &["upstream", "templates"],
        &["templates"],
    ];
    let direct = paths.iter().find_map(|path| below(root, path));
    let of_resource = || {
        get(root, "resources")?
            .as_array()?
            .iter()
            .filter(|resource| {
                let kind = get(resource, "type").and_then(Value::as_str);
                kind.is_some_and(|kind| kind.eq_ignore_ascii_case(RESOURCE_TYPE))
            })
            .find_map(|resource| below(resource, paths[1]))
    };
    direct.or_else(of_resource)?.as_array()
}

fn template(object: &Map<String, Value>, number: usize) -> Result<TemplateOptions, ParseFileError> {
    let text = |property: &'static str| match lookup(object, property) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ParseFileError::Property { number, property, expected: "a text" }),
    };
    let defaults = TemplateOptions::default();
    let (auth, auth_resource) = auth(lookup(object, "auth"), number)?;
    Ok(TemplateOptions {
        url_template: text("urlTemplate")?.unwrap_or_default(),
        hub_pattern: text("hubPattern")?.unwrap_or(defaults.hub_pattern),
        category_pattern: text("categoryPattern")?.unwrap_or(defaults.category_pattern),
        event_pattern: text("eventPattern")?.unwrap_or(defaults.event_pattern),
        auth,
        auth_resource,
    })
}

fn auth(value: Option<&Value>, number: usize) -> Result<(Auth, Option<String>), ParseFileError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok((Auth::None, None)) };
    let kind = get(value, "type").and_then(Value::as_str).unwrap_or("");
    if kind.eq_ignore_ascii_case("None") {
        return Ok((Auth::None, None));
    }
    if kind.eq_ignore_ascii_case("ManagedIdentity") {
        let resource = get(value, "managedIdentity").and_then(|identity| get(identity, "resource"));
        return Ok((Auth::ManagedIdentity, resource.and_then(Value::as_str).map(str::to_owned)));
    }
    let expected = "an object whose type is None or ManagedIdentity";
    Err(ParseFileError::Property { number, property: "auth", expected })
}

fn get<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    lookup(value.as_object()?, name)
}

fn lookup<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests;
