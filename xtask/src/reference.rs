//! `docs/configuration.md`, made from the doc comments of the option types: one source, so that neither can lie.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};

/// A section of `chappe.toml`, and the type whose fields are its keys.
const SECTIONS: [(&str, &str, &str); 25] = [
    ("", "crates/chappe/src/config.rs", "Config"),
    ("listen", "crates/chappe/src/config.rs", "ListenSection"),
    ("guard", "crates/chappe/src/config/guard.rs", "GuardSection"),
    ("tls", "crates/chappe/src/config.rs", "TlsSection"),
    ("gateway", "crates/gateway/src/options.rs", "Options"),
    ("gateway.routes", "crates/gateway/src/route.rs", "Route"),
    ("realtime", "crates/realtime/src/options.rs", "Options"),
    ("realtime.dynamic_keys", "crates/realtime/src/options/login.rs", "DynamicKeyOptions"),
    ("realtime.openid", "crates/realtime/src/options/login.rs", "OpenIdOptions"),
    ("realtime.engine", "crates/realtime/src/engine/options.rs", "Options"),
    ("realtime.servers", "crates/realtime/src/servers/options.rs", "Options"),
    ("realtime.upstream", "crates/realtime/src/upstream/options.rs", "Options"),
    ("realtime.upstream.templates", "crates/realtime/src/upstream/options.rs", "TemplateOptions"),
    ("realtime.events", "crates/realtime/src/events/options.rs", "Options"),
    ("documents", "crates/documents/src/options.rs", "Options"),
    ("functions", "crates/functions/src/options.rs", "Options"),
    ("functions.workers", "crates/functions/src/worker/spec.rs", "PoolOptions"),
    ("edge", "crates/edge/src/options.rs", "Options"),
    ("bodies", "crates/body/src/options.rs", "Options"),
    ("egress", "crates/egress/src/options.rs", "Options"),
    ("egress.addresses", "crates/egress/src/policy.rs", "AddressPolicy"),
    ("state.journal", "crates/state-embedded/src/options.rs", "JournalOptions"),
    ("state.registry", "crates/state-embedded/src/options.rs", "RegistryOptions"),
    ("state.relay", "crates/state-embedded/src/options.rs", "RelayOptions"),
    ("telemetry", "crates/chappe/src/config.rs", "TelemetrySection"),
];

/// Where the page is.
const PAGE: &str = "docs/configuration.md";

/// The line behind which the page is generated; what stands before it is written by hand.
const MARK: &str = "<!-- Below this line `cargo xtask reference` writes. -->";

/// Writes the page, or with `check` says that it is not current.
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
    Ok(())
}

fn sections(root: &Path) -> anyhow::Result<String> {
    let mut page = String::new();
    for (section, file, name) in SECTIONS {
        let source = std::fs::read_to_string(root.join(file)).with_context(|| format!("read {file}"))?;
        let keys = keys(&source, name).with_context(|| format!("{file} has no struct {name}"))?;
        let title = if section.is_empty() { "Top level".to_owned() } else { format!("`[{section}]`") };
        write!(page, "\n## {title}\n\n| key | meaning |\n|---|---|\n")?;
        for (key, meaning) in keys {
            writeln!(page, "| `{key}` | {meaning} |")?;
        }
    }
    Ok(page)
}

/// The fields of a struct with their doc comments; those that serde skips are no keys.
fn keys(source: &str, name: &str) -> Option<Vec<(String, String)>> {
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
        } else if let Some((before, _)) = line.split_once(": ").filter(|_| line.starts_with("pub")) {
            let key = before.rsplit(' ').next().unwrap_or(before);
            if !skipped {
                keys.push((key.to_owned(), comment.trim().replace('|', "\\|")));
            }
            (comment, skipped) = (String::new(), false);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fields_with_their_comments() {
        let source = "/// X.\npub struct Options {\n    /// How many. Default 3.\n    /// Since 0.1.0.\n    pub count: usize,\n    \
                      /// Set by the binary.\n    #[serde(skip)]\n    pub folder: PathBuf,\n    pub(crate) bare: bool,\n}\n";
        let found = keys(source, "Options").expect("the struct is there");
        let expected = [("count", "How many. Default 3. Since 0.1.0."), ("bare", "")];
        assert_eq!(found, expected.map(|(key, meaning)| (key.to_owned(), meaning.to_owned())));
        assert_eq!(keys(source, "Other"), None);
    }
}
