//! `docs/configuration.md`, generated from the doc comments of the option types: one source, so that page and code cannot differ.

mod schema;
mod sentences;
mod source;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};

use source::{ENUMS, Key, LISTS, PLAIN, SECTIONS, Service, connectors, keys, services, variants};

/// The path of the page.
const PAGE: &str = "docs/configuration.md";

/// The path of the JSON Schema, which the binary includes.
const SCHEMA: &str = "crates/chappe/src/config/schema.json";

/// The line after which the page is generated; the text before it is written by hand.
const MARK: &str = "<!-- Below this line `cargo xtask reference` writes. -->";

/// Writes the page, or with `check` reports whether it is outdated.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<()> {
    let path = root.join(PAGE);
    let present = std::fs::read_to_string(&path).with_context(|| format!("read {PAGE}"))?;
    let (written, _) = present.split_once(MARK).with_context(|| format!("{PAGE} lacks the line {MARK}"))?;
    let page = format!("{written}{MARK}\n{}", sections(root)?);
    if check && page != present {
        bail!("{PAGE} is not what the options say: run `cargo xtask reference`");
    }
    if page != present {
        std::fs::write(&path, page)?;
    }
    let schema = schema::schema(root)?;
    let present = std::fs::read_to_string(root.join(SCHEMA)).unwrap_or_default();
    if check && schema != present {
        bail!("{SCHEMA} is not what the options say: run `cargo xtask reference`");
    }
    if schema != present {
        std::fs::write(root.join(SCHEMA), schema)?;
    }
    Ok(())
}

fn sections(root: &Path) -> anyhow::Result<String> {
    let mut page = String::new();
    let services = services(root)?;
    for (section, file, name) in SECTIONS {
        let title = match section {
            "" => "Top level".to_owned(),
            list if LISTS.contains(&list) => format!("`[[{list}]]`"),
            one => format!("`[{one}]`"),
        };
        write!(page, "\n## {title}\n\n{}", table(root, section, file, name)?)?;
        if section.is_empty() {
            for service in &services {
                writeln!(page, "| `{}` | {} | as its keys |", service.name, service.about)?;
            }
            page += "| `connect` | The connectors of triggers and bindings, for all functions hosts of the process. | as its keys |\n";
            page += &listen(&services);
        }
        if section == "gateway.routes" {
            page += &default_routes(&services);
        }
    }
    for connector in connectors(root)? {
        let section = format!("connect.{}", connector.name);
        let table = table(root, &section, &connector.options, "Options")?;
        write!(page, "\n## `[{section}]`\n\n{}\n\n{table}", connector.about)?;
    }
    Ok(page)
}

/// The keys of a section: the fields of the type `name` in `file`.
fn table(root: &Path, section: &str, file: &str, name: &str) -> anyhow::Result<String> {
    let source = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
    let keys = keys(&source, name).with_context(|| format!("{file} has no struct {name}"))?;
    let is_reloaded = is_reloaded_as_a_whole(root, section)?;
    let mut table = "| key | meaning | a change applies |\n|---|---|---|\n".to_owned();
    for key in keys {
        let values = values(root, section, &key).with_context(|| format!("{name}.{} in {file}", key.name))?;
        let (meaning, applies) = reload(&key.meaning);
        let applies = if is_reloaded { "at a reload" } else { applies };
        let is_table = path_of(section, &key.name, |path| {
            SECTIONS.iter().any(|(known, ..)| *known == path || known.starts_with(&format!("{path}.")))
        });
        let applies = if is_table && !sentences::reloads(&key.meaning) { "as its keys" } else { applies };
        writeln!(table, "| `{}` | {meaning}{values} | {applies} |", key.name)?;
    }
    Ok(table)
}

/// Whether the key of a list or table of sections reloads, which then applies to all of its keys.
fn is_reloaded_as_a_whole(root: &Path, section: &str) -> anyhow::Result<bool> {
    let list = section.strip_suffix(".NAME").unwrap_or(section);
    let Some((above, key)) = list.rsplit_once('.') else { return Ok(false) };
    let Some((_, file, name)) = SECTIONS.iter().find(|(known, ..)| *known == above) else { return Ok(false) };
    let source = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
    let keys = keys(&source, name).with_context(|| format!("{file} has no struct {name}"))?;
    Ok(keys.iter().any(|known| known.name == key && sentences::reloads(&known.meaning)))
}

/// The comment without the sentence about reloading, and when a change applies.
fn reload(meaning: &str) -> (String, &'static str) {
    let applies = if sentences::reloads(meaning) { "at a reload" } else { "at a restart" };
    (meaning.replace(" Reloads.", ""), applies)
}

/// A question about the dotted path of a key.
fn path_of(section: &str, key: &str, ask: impl FnOnce(&str) -> bool) -> bool {
    if section.is_empty() { ask(key) } else { ask(&format!("{section}.{key}")) }
}

/// The allowed values of a key, if its type has a fixed set of them. A type that is neither plain, nor such a set, nor a section of this
/// page is an error, because its keys would be missing here.
fn values(root: &Path, section: &str, key: &Key) -> anyhow::Result<String> {
    let mut kind = key.kind.as_str();
    for wrapper in ["Option<", "Vec<"] {
        kind = kind.strip_prefix(wrapper).map_or(kind, |inner| inner.trim_end_matches('>'));
    }
    let name = kind.split('<').next().unwrap_or(kind);
    let name = name.rsplit("::").next().unwrap_or(name);
    if let Some((_, file)) = ENUMS.iter().find(|(known, _)| *known == name) {
        let source = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
        let variants = variants(&source, name).with_context(|| format!("{file} has no enum {name}"))?;
        let list: Vec<String> = variants
            .iter()
            .map(|(value, meaning)| format!("`{value}`: {}", meaning.trim_end_matches('.')))
            .collect();
        return Ok(format!(" Values: {}.", list.join("; ")));
    }
    let path = if section.is_empty() { key.name.clone() } else { format!("{section}.{}", key.name) };
    let has_section =
        SECTIONS.iter().any(|(known, ..)| *known == path || known.starts_with(&format!("{path}.")));
    if PLAIN.contains(&name) || has_section {
        return Ok(String::new());
    }
    bail!("the type {name} is not known to xtask/src/reference.rs: add it to SECTIONS, ENUMS or PLAIN")
}

/// The listeners of the services.
fn listen(services: &[Service]) -> String {
    let mut page = "\n## `[listen]`\n\nWhere each service listens: `host:port`, port 0 for any free one, or `off`. A port that is configured \
                    here and taken ends the start; a default one moves to a free port in development mode.\n\n| key | meaning | a change applies |\n|---|---|---|\n"
        .to_owned();
    for Service { name, port, listens, .. } in services {
        let default = port.map_or_else(|| "off".to_owned(), |port| format!("localhost:{port}"));
        page += &format!("| `{name}` | {listens} Default: `{default}`. Since 0.1.0. | at a restart |\n")
            .replace("|  ", "| ");
    }
    page
}

/// The default routes of a gateway.
fn default_routes(services: &[Service]) -> String {
    let mut page =
        "\nThese routes are there unless one of yours takes the same path, and the service runs:\n\n\
                    | path | service |\n|---|---|\n"
            .to_owned();
    for Service { target, routes, .. } in services {
        for (route, target) in routes.iter().zip(std::iter::repeat(target)) {
            page += &format!("| `{route}` | `{}` |\n", target.as_deref().unwrap_or_default());
        }
    }
    page
}
