//! The JSON Schema of `chappe.toml`. `cargo xtask reference` writes it from the doc comments of the options.

use std::collections::BTreeSet;

use serde_json::Value;

/// The schema, as editors read it.
pub(crate) const TEXT: &str = include_str!("schema.json");

/// What the schema says of options, by their paths without the names of services.
pub(crate) struct OptionAttributes {
    secrets: BTreeSet<String>,
    reloadable: BTreeSet<String>,
}

impl OptionAttributes {
    /// Reads the schema.
    pub(crate) fn of_schema() -> Self {
        let schema: Value = serde_json::from_str(TEXT).expect("the schema is JSON");
        let mut marks = Self { secrets: BTreeSet::new(), reloadable: BTreeSet::new() };
        marks.collect(&schema, "");
        marks
    }

    /// Whether the value of an option must not be shown. `path` is dotted, without indexes and names of services.
    pub(crate) fn is_secret(&self, path: &str) -> bool {
        self.secrets.contains(path)
    }

    /// Whether a change of an option applies while the process runs: it is marked, or a table or list that holds it.
    pub(crate) fn reloads(&self, path: &str) -> bool {
        let mut path = path;
        loop {
            if self.reloadable.contains(path) {
                return true;
            }
            let Some((above, _)) = path.rsplit_once('.') else { return false };
            path = above;
        }
    }

    /// Every option of which a change applies while the process runs.
    #[cfg(test)]
    pub(crate) fn reloadable(&self) -> impl Iterator<Item = &str> {
        self.reloadable.iter().map(String::as_str)
    }

    fn collect(&mut self, schema: &Value, path: &str) {
        if schema["writeOnly"] == true {
            self.secrets.insert(path.to_owned());
        }
        if schema["x-reloads"] == true {
            self.reloadable.insert(path.to_owned());
        }
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            self.collect(below, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") });
        }
        if schema["items"].is_object() {
            self.collect(&schema["items"], path);
        }
        for choice in schema["anyOf"].as_array().into_iter().flatten() {
            self.collect(choice, path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_marks_secrets_and_reloadable_keys() {
        let marks = OptionAttributes::of_schema();
        for secret in [
            "realtime.primary_key",
            "documents.secondary_key",
            "guard.trusted_proxy_secret",
            "realtime.upstream.templates.url_template",
            "realtime.upstream.identity_header",
            "egress.proxy.urls.http",
        ] {
            assert!(marks.is_secret(secret), "{secret}");
        }
        assert!(!marks.is_secret("realtime.mode") && !marks.is_secret("tls.key_file"));
        assert!(marks.reloads("gateway.routes") && !marks.reloads("listen.gateway"));
    }
}
