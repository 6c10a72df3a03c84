//! The configuration as the source defines it: sections, options with their comments and types, and the rows of services.

use std::path::Path;

use anyhow::Context;

/// Types with plain values, or whose values are described in the comments of their keys.
pub(super) const PLAIN: [&str; 20] = [
    "String",
    "PathBuf",
    "bool",
    "u8",
    "u16",
    "u32",
    "u64",
    "usize",
    "f64",
    "NonZeroU16",
    "NonZeroU32",
    "NonZeroU64",
    "NonZeroUsize",
    "Listen",
    "Cidr",
    "HostName",
    "Network",
    "Secret",
    "ProxyChoice",
    "BTreeMap",
];

/// A section of `chappe.toml`, and the type whose fields are its keys.
pub(super) const SECTIONS: [(&str, &str, &str); 26] = [
    ("", "crates/chappe/src/config/sections.rs", "Config"),
    ("guard", "crates/chappe/src/config/guard.rs", "GuardSection"),
    ("tls", "crates/chappe/src/config/sections.rs", "TlsSection"),
    ("gateway", "crates/gateway/src/options.rs", "Options"),
    ("gateway.routes", "crates/gateway/src/route.rs", "Route"),
    ("realtime", "crates/realtime/src/options.rs", "Options"),
    ("realtime.dynamic_keys", "crates/realtime/src/options/login.rs", "DynamicKeyOptions"),
    ("realtime.openid", "crates/realtime/src/options/login.rs", "OpenIdOptions"),
    ("realtime.history", "crates/realtime/src/history/options.rs", "Rule"),
    ("realtime.engine", "crates/realtime-engine/src/options.rs", "Options"),
    ("realtime.engine.hubs.NAME", "crates/realtime-engine/src/options.rs", "HubOptions"),
    ("realtime.servers", "crates/realtime/src/servers/options.rs", "Options"),
    ("realtime.upstream", "crates/realtime/src/upstream/options.rs", "Options"),
    ("realtime.upstream.templates", "crates/realtime/src/upstream/options.rs", "TemplateOptions"),
    ("realtime.events", "crates/realtime/src/events/options.rs", "Options"),
    ("documents", "crates/documents/src/options.rs", "Options"),
    ("functions", "crates/functions/src/options.rs", "Options"),
    ("functions.workers", "crates/functions/src/worker/pool/options.rs", "PoolOptions"),
    ("edge", "crates/edge/src/options.rs", "Options"),
    ("bodies", "crates/http-messages/src/options.rs", "Options"),
    ("egress", "crates/egress/src/options.rs", "Options"),
    ("egress.addresses", "crates/egress/src/policy.rs", "AddressPolicy"),
    ("egress.proxy.urls", "crates/egress/src/proxy.rs", "ProxyUrls"),
    ("state.journal", "crates/state-embedded/src/options.rs", "JournalOptions"),
    ("state.registry", "crates/state-embedded/src/options.rs", "RegistryOptions"),
    ("telemetry", "crates/chappe/src/config/sections.rs", "TelemetrySection"),
];

/// Sections that may occur more than once.
pub(super) const LISTS: [&str; 3] = ["gateway.routes", "realtime.history", "realtime.upstream.templates"];

/// Types with a fixed set of values; their variants are the values.
pub(super) const ENUMS: [(&str, &str); 6] = [
    ("Mode", "crates/realtime/src/mode.rs"),
    ("SlowConsumer", "crates/realtime-engine/src/options.rs"),
    ("Auth", "crates/realtime/src/upstream/options.rs"),
    ("HttpVersion", "crates/egress/src/options.rs"),
    ("Base", "crates/egress/src/policy.rs"),
    ("LogFormat", "crates/chappe/src/config/sections.rs"),
];

/// The folder with the rows of the services, one in each file; they are listed in the order of the table.
const SERVICES: (&str, &str) = ("crates/chappe/src/services.rs", "crates/chappe/src/services");

/// The folder with the rows of the connectors, one in each file; they are listed in the order of the table.
const CONNECTORS: (&str, &str) = ("crates/chappe/src/wiring.rs", "crates/chappe/src/wiring");

/// A connector, from its row in the source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Connector {
    /// The name of its section below `connect`.
    pub(super) name: String,
    /// The first line of its file.
    pub(super) about: String,
    /// The file that declares its `Options`.
    pub(super) options: String,
}

/// A service, from its row in the source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: String,
    /// The first line of its file.
    pub(super) about: String,
    pub(super) port: Option<u16>,
    /// The text about its port in the comment above its section.
    pub(super) listens: String,
    /// Its name in routes.
    pub(super) target: Option<String>,
    pub(super) routes: Vec<String>,
    pub(super) may_be_named: bool,
    pub(super) has_app: bool,
}

/// The services in the order of the table.
pub(super) fn services(root: &Path) -> anyhow::Result<Vec<Service>> {
    rows(root, SERVICES, "TABLE", service)
}

/// The connectors in the order of the table.
pub(super) fn connectors(root: &Path) -> anyhow::Result<Vec<Connector>> {
    rows(root, CONNECTORS, "CONNECTORS", connector)
}

/// The fields of the rows of a table, each in its own file; `list` is the name of the static that lists them.
fn rows<R>(
    root: &Path,
    (table, folder): (&str, &str),
    list: &str,
    row: impl Fn(&str) -> Option<R>,
) -> anyhow::Result<Vec<R>> {
    let source = std::fs::read_to_string(root.join(table)).with_context(|| format!("read {table}"))?;
    let items = source.split(&format!("static {list}:")).nth(1).and_then(|rest| rest.split("];").next());
    let items = items.with_context(|| format!("{table} has no {list}"))?;
    let names = items.split('&').filter_map(|item| item.split_once("::ROW")).map(|(name, _)| name.trim());
    let read = |name: &str| {
        let file = format!("{folder}/{name}.rs");
        let source = std::fs::read_to_string(root.join(&file)).with_context(|| format!("read {file}"))?;
        row(&source).with_context(|| format!("{file} has no row as the others have it"))
    };
    names.map(read).collect()
}

/// The row of a connector in a file.
fn connector(source: &str) -> Option<Connector> {
    let about = source.lines().next()?.strip_prefix("//! ")?.to_owned();
    let (options, rest) = source.split_once("ConnectorSection::of::<")?.1.split_once(">(")?;
    let package = options.strip_suffix("::Options")?.replace('_', "-");
    let name = rest.split('"').nth(1)?.to_owned();
    Some(Connector { name, about, options: format!("crates/{package}/src/options.rs") })
}

/// The row in a file.
fn service(source: &str) -> Option<Service> {
    let about = source.lines().next()?.strip_prefix("//! ")?.to_owned();
    let row = source.split_once("static ROW: Row = Row {")?.1;
    let (comment, row) = row.split_once("section: Section::of::<")?;
    let listens: Vec<&str> = comment.lines().filter_map(|line| line.trim().strip_prefix("// ")).collect();
    let arguments = row.split_once(">(")?.1.split_once(')')?;
    // `Some(8080)` ends at the first parenthesis; the next field comes after it.
    let (first, rest) = arguments;
    let name = first.split('"').nth(1)?.to_owned();
    let port = first.split_once("Some(").and_then(|(_, port)| port.parse().ok());
    let target = if port.is_some() { rest.split(')').next()? } else { first };
    let target = target.split('"').rev().nth(1).map(str::to_owned).filter(|_| target.contains("Some("));
    let routes = row.split_once("routes: &[")?.1.split(']').next()?;
    let routes = routes.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let builders = row.split_once("title:").map_or(row, |(section, _)| section);
    Some(Service {
        name,
        about,
        port,
        listens: listens.join(" "),
        target,
        routes,
        may_be_named: !builders.contains(".only_one()"),
        has_app: builders.contains(".with_app()"),
    })
}

/// A key of a section.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) meaning: String,
    /// The type of its field, as it is written.
    pub(super) kind: String,
}

/// The fields of a struct with their doc comments; fields that serde skips are not keys.
pub(super) fn keys(source: &str, name: &str) -> Option<Vec<Key>> {
    let start = source.find(&format!("struct {name} {{"))?;
    let mut keys = Vec::new();
    let (mut comment, mut skipped) = (String::new(), false);
    for line in source[start..].lines().skip(1).map(str::trim) {
        if line == "}" {
            return Some(keys);
        }
        if let Some(text) = line.strip_prefix("///") {
            comment = format!("{comment} {}", text.trim());
        } else if line.starts_with("#[serde(skip") && !line.contains("skip_serializing_if") {
            skipped = true;
        } else if let Some((before, kind)) = line.split_once(": ").filter(|_| line.starts_with("pub")) {
            let name = before.rsplit(' ').next().unwrap_or(before).to_owned();
            if !skipped {
                let kind = kind.trim_end_matches(',').to_owned();
                keys.push(Key { name, meaning: for_users(&comment), kind });
            }
            (comment, skipped) = (String::new(), false);
        }
    }
    None
}

/// The variants of an enum as serde spells them, with their doc comments.
pub(super) fn variants(source: &str, name: &str) -> Option<Vec<(String, String)>> {
    let start = source.find(&format!("enum {name} {{"))?;
    let attributes = source[..start].rsplit("\n\n").next().unwrap_or_default();
    let style =
        attributes.split("rename_all = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
    let (mut found, mut comment) = (Vec::new(), String::new());
    for line in source[start..].lines().skip(1).map(str::trim) {
        if line == "}" {
            return Some(found);
        }
        if let Some(text) = line.strip_prefix("///") {
            comment = format!("{comment} {}", text.trim());
        } else if line.starts_with(|first: char| first.is_ascii_uppercase()) {
            let variant = line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(line);
            found.push((spelt(variant, style), for_users(&std::mem::take(&mut comment))));
        }
    }
    None
}

/// A variant's name in one of serde's styles.
fn spelt(variant: &str, style: &str) -> String {
    let separator = match style {
        "snake_case" => "_",
        "kebab-case" => "-",
        _ => "",
    };
    let mut spelt = String::new();
    for (index, letter) in variant.chars().enumerate() {
        if index > 0 && letter.is_ascii_uppercase() {
            spelt += separator;
        }
        spelt.push(if style.is_empty() { letter } else { letter.to_ascii_lowercase() });
    }
    spelt
}

/// A doc comment as a table cell for users: links to our source are reduced to their last name.
fn for_users(comment: &str) -> String {
    let mut text = String::new();
    let mut rest = comment.trim();
    while let Some((before, from)) = rest.split_once("[`") {
        let Some((path, after)) = from.split_once("`]") else { break };
        let name = path.rsplit("::").next().unwrap_or(path);
        text += &format!("{before}`{name}`");
        rest = after;
    }
    (text + rest).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fields_with_their_comments() {
        let source = "/// X.\npub struct Options {\n    /// How many. Default 3.\n    /// Since 0.1.0.\n    pub count: usize,\n    \
                      /// Set by the binary.\n    #[serde(skip)]\n    pub folder: PathBuf,\n    pub(crate) bare: bool,\n}\n";
        let found = keys(source, "Options").expect("the struct is there");
        let found: Vec<_> =
            found.iter().map(|key| (key.name.as_str(), key.meaning.as_str(), key.kind.as_str())).collect();
        assert_eq!(found, [("count", "How many. Default 3. Since 0.1.0.", "usize"), ("bare", "", "bool")]);
        assert_eq!(keys(source, "Other"), None);
    }

    #[test]
    fn a_service_section_follows_from_its_table_row() {
        let source = "//! The queue service.\n\npub(super) static ROW: Row = Row {\n    // The port of Azurite.\n    section: \
                      Section::of::<queues::Options>(\"queues\", Some(10001), Some(\"queues\")),\n    routes: &[\"/q\", \"/r\"],\n};\n";
        let found = service(source).expect("it has a row");
        assert_eq!((found.name.as_str(), found.port), ("queues", Some(10001)));
        assert_eq!(
            (found.about.as_str(), found.listens.as_str()),
            ("The queue service.", "The port of Azurite.")
        );
        assert_eq!(
            (found.target.as_deref(), found.routes),
            (Some("queues"), vec!["/q".to_owned(), "/r".to_owned()])
        );
        let found =
            service(&source.replace("Some(10001), Some(\"queues\")", "None, None")).expect("it has a row");
        assert_eq!((found.port, found.target), (None, None));
    }

    #[test]
    fn a_connector_section_follows_from_its_table_row() {
        let source = "//! The connector for queues.\n\npub(super) static ROW: ConnectorRow = ConnectorRow {\n    section: \
                      ConnectorSection::of::<connect_queues::Options>(\"queues\"),\n};\n";
        let found = connector(source).expect("it has a row");
        let expected = ("queues", "The connector for queues.", "crates/connect-queues/src/options.rs");
        assert_eq!((found.name.as_str(), found.about.as_str(), found.options.as_str()), expected);
        assert_eq!(connector("//! Nothing.\n"), None);
    }

    #[test]
    fn enum_values_are_spelled_as_by_serde() {
        let source = "/// X.\n#[serde(rename_all = \"kebab-case\")]\npub enum Base {\n    /// All.\n    #[default]\n    AllowAll,\n    \
                      /// None of\n    /// them.\n    Urls(Urls),\n}\n";
        let found = variants(source, "Base").expect("the enum is there");
        let expected = [("allow-all", "All."), ("urls", "None of them.")];
        assert_eq!(found, expected.map(|(value, meaning)| (value.to_owned(), meaning.to_owned())));
    }

    #[test]
    fn links_into_the_source_are_names() {
        assert_eq!(
            for_users("Until [`crate::Client::send`] or [`call`] ends | or"),
            "Until `send` or `call` ends \\| or"
        );
        assert_eq!(for_users("[`open"), "[`open");
    }
}
