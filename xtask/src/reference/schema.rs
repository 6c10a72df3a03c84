//! `crates/chappe/src/config/schema.json`: the JSON Schema of `chappe.toml`, from the same doc comments and types as the page.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::sentences;
use super::source::{ENUMS, Key, LISTS, PLAIN, SECTIONS, Service, connectors, keys, services, variants};

/// Names of additional services, as `ServiceId` in the binary accepts them.
const NAME: &str = "[a-z][a-z0-9-]{0,31}";

/// The schema, as it is written to the file.
pub(super) fn schema(root: &Path) -> anyhow::Result<String> {
    let services = services(root)?;
    let mut properties = object(root, "")?;
    let mut listen = Map::new();
    for service in &services {
        let text = format!("{} Default: {}.", service.listens, default_listen(service));
        listen.insert(service.name.clone(), address(&text));
        let mut own = match SECTIONS.iter().any(|(section, ..)| *section == service.name) {
            true => object(root, &service.name)?,
            false => Map::new(),
        };
        let named = service.may_be_named.then(|| named(service, &own));
        let names: Vec<String> = own.keys().cloned().collect();
        let mut section = closed(&service.about, std::mem::take(&mut own));
        if let Some(named) = named {
            let pattern = format!("^(?!(?:{}|default)$){NAME}$", names.join("|"));
            section["patternProperties"] = json!({ pattern: named });
        }
        properties.insert(service.name.clone(), section);
    }
    let about = "Where each service listens: host:port, port 0 for any free one, or off.";
    properties.insert("listen".to_owned(), closed(about, listen));
    let mut connect = Map::new();
    for connector in connectors(root)? {
        let own = fields(root, &format!("connect.{}", connector.name), &connector.options, "Options")?;
        connect.insert(connector.name, closed(&connector.about.replace('`', ""), own));
    }
    let about = "The connectors of triggers and bindings, for all functions hosts of the process.";
    properties.insert("connect".to_owned(), closed(about, connect));
    let mut schema =
        closed("The configuration of Chappe. `chappe config schema` prints this file.", properties);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("chappe.toml");
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// An additional, named service: the same options, its listener, and its app.
fn named(service: &Service, own: &Map<String, Value>) -> Value {
    let mut properties = own.clone();
    properties.insert("listen".to_owned(), address("Where it listens. Default: any free port of localhost."));
    if service.has_app {
        let about = "The folder of its app, relative to this file.";
        properties.insert("app".to_owned(), json!({ "type": "string", "description": about }));
    }
    let mut schema = closed(&format!("One more service: {}", service.about), properties);
    if service.has_app {
        schema["required"] = json!(["app"]);
    }
    schema
}

fn default_listen(service: &Service) -> String {
    service.port.map_or_else(|| "off".to_owned(), |port| format!("localhost:{port}"))
}

fn address(about: &str) -> Value {
    json!({ "type": "string", "pattern": "^([oO][fF][fF]|.+:[0-9]{1,5})$", "description": about.trim() })
}

/// An object that has these properties only.
fn closed(about: &str, properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "description": about, "properties": properties, "additionalProperties": false })
}

/// The properties of a section, with those of the sections below it.
fn object(root: &Path, section: &str) -> anyhow::Result<Map<String, Value>> {
    let found = SECTIONS.iter().find(|(known, ..)| *known == section);
    let (_, file, name) = found.with_context(|| format!("no section {section}"))?;
    fields(root, section, file, name)
}

/// The properties of a section whose keys are the fields of the type `name` in `file`.
fn fields(root: &Path, section: &str, file: &str, name: &str) -> anyhow::Result<Map<String, Value>> {
    let source = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
    let mut properties = Map::new();
    for key in keys(&source, name).with_context(|| format!("{file} has no struct {name}"))? {
        let mut schema =
            property(root, section, &key).with_context(|| format!("{name}.{} in {file}", key.name))?;
        schema["description"] = json!(key.meaning.replace('`', ""));
        if sentences::is_secret(&key.meaning) {
            schema["writeOnly"] = json!(true);
        }
        if sentences::reloads(&key.meaning) {
            schema["x-reloads"] = json!(true);
        }
        properties.insert(key.name, schema);
    }
    Ok(properties)
}

fn property(root: &Path, section: &str, key: &Key) -> anyhow::Result<Value> {
    let path = if section.is_empty() { key.name.clone() } else { format!("{section}.{}", key.name) };
    let kind = inner(&key.kind, "Option").unwrap_or(&key.kind);
    if let Some(item) = inner(kind, "Vec") {
        let items = match LISTS.contains(&path.as_str()) {
            true => closed("", object(root, &path)?),
            false => plain(root, item)?,
        };
        return Ok(json!({ "type": "array", "items": items }));
    }
    if kind.starts_with("BTreeMap<") {
        // A map of plain values has no section of its own.
        let value = inner(kind, "BTreeMap").and_then(|types| types.split_once(", "));
        if let Some((_, value)) = value
            && PLAIN.contains(&value)
        {
            return Ok(json!({ "type": "object", "additionalProperties": plain(root, value)? }));
        }
        let item = closed("", object(root, &format!("{path}.NAME"))?);
        return Ok(json!({ "type": "object", "additionalProperties": item }));
    }
    if kind == "ProxyChoice" {
        let urls = closed("Proxies by name.", object(root, &format!("{path}.urls"))?);
        let urls = closed("", Map::from_iter([("urls".to_owned(), urls)]));
        return Ok(json!({ "anyOf": [{ "enum": ["environment", "off"] }, urls] }));
    }
    if SECTIONS.iter().any(|(known, ..)| *known == path) {
        return Ok(closed("", object(root, &path)?));
    }
    // A table that holds sections only, as `state`.
    let below: Vec<&str> = SECTIONS
        .iter()
        .filter_map(|(known, ..)| known.strip_prefix(&path)?.strip_prefix('.'))
        .filter(|rest| !rest.contains('.'))
        .collect();
    if !below.is_empty() {
        let sections = below
            .iter()
            .map(|name| Ok((String::from(*name), closed("", object(root, &format!("{path}.{name}"))?))));
        return Ok(closed("", sections.collect::<anyhow::Result<_>>()?));
    }
    plain(root, kind)
}

/// A value that is not a table.
fn plain(root: &Path, kind: &str) -> anyhow::Result<Value> {
    let name = kind.rsplit("::").next().unwrap_or(kind);
    Ok(match name {
        "bool" => json!({ "type": "boolean" }),
        "f64" => json!({ "type": "number" }),
        "String" | "PathBuf" | "Cidr" | "HostName" | "Network" => json!({ "type": "string" }),
        "Secret" => json!({ "type": "string", "minLength": 16 }),
        "u8" => json!({ "type": "integer", "minimum": 0, "maximum": 255 }),
        "u16" => json!({ "type": "integer", "minimum": 0, "maximum": 65535 }),
        "u32" | "u64" | "usize" => json!({ "type": "integer", "minimum": 0 }),
        name if name.starts_with("NonZero") => json!({ "type": "integer", "minimum": 1 }),
        name => {
            let Some((_, file)) = ENUMS.iter().find(|(known, _)| *known == name) else {
                bail!("the schema has no rule for the type {kind}: add one to xtask/src/reference/schema.rs")
            };
            let source = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
            let values = variants(&source, name).with_context(|| format!("{file} has no enum {name}"))?;
            json!({ "enum": values.into_iter().map(|(value, _)| value).collect::<Vec<_>>() })
        }
    })
}

/// The inner type of a generic type.
fn inner<'a>(kind: &'a str, wrapper: &str) -> Option<&'a str> {
    kind.strip_prefix(wrapper)?.strip_prefix('<')?.strip_suffix('>')
}
