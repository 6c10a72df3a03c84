//! App settings: the environment and `local.settings.json`, merged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::local_settings::LocalSettings;
use functions_contract::AppSettings;

/// App settings by exact name; cheap to clone.
#[derive(Clone, Debug)]
pub struct MergedSettings {
    values: Arc<BTreeMap<String, String>>,
    host_id: Arc<str>,
}

impl MergedSettings {
    /// Merges the settings; the environment overrides the file. Also returns a warning for each name with two different values.
    pub(super) fn merge(
        dir: &Path,
        environment: &BTreeMap<String, String>,
        local: &LocalSettings,
    ) -> (Self, Vec<String>) {
        let mut values = environment.clone();
        let mut notices = Vec::new();
        for (name, value) in &local.values {
            if let Some(existing) = environment.get(name) {
                if existing != value {
                    notices.push(format!(
                        "{name} is set in the environment and in local.settings.json; the value of the environment is used"
                    ));
                }
                continue;
            }
            values.insert(name.clone(), value.clone());
        }
        for (name, value) in &local.connection_strings {
            values.entry(format!("ConnectionStrings:{name}")).or_insert_with(|| value.clone());
        }
        if !local.values.is_empty() {
            // Core Tools sets this when local.settings.json is used.
            values
                .entry("AZURE_FUNCTIONS_ENVIRONMENT".to_owned())
                .or_insert_with(|| "Development".to_owned());
        }
        let host_id = host_id(dir, &values);
        (Self { values: Arc::new(values), host_id: host_id.into() }, notices)
    }

    /// Settings from pairs, for tests that need an [`AppSettings`].
    pub fn from_pairs<const N: usize>(host_id: &str, pairs: [(&str, &str); N]) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { values: Arc::new(values), host_id: host_id.into() }
    }

    /// A setting that is set and not empty. `_` in the environment stands for a hyphen in the name, because shells do not accept
    /// hyphens.
    pub fn get(&self, name: &str) -> Option<&str> {
        let with_underscores =
            || name.contains('-').then(|| self.values.get(&name.replace('-', "_"))).flatten();
        let value = self.values.get(name).or_else(with_underscores);
        value.map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    /// Whether a setting is `1` or `true`.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
    }

    /// All settings, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl AppSettings for MergedSettings {
    fn setting(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    fn has_connection(&self, name: &str) -> bool {
        let parts = [format!("{name}__"), format!("{name}:")];
        self.connection(name).is_some()
            || self.iter().any(|(other, _)| parts.iter().any(|part| other.starts_with(part.as_str())))
    }

    fn names_below(&self, prefix: &str) -> Vec<String> {
        let prefix = prefix.to_ascii_lowercase();
        let is_below = |name: &&str| name.replace("__", ":").to_ascii_lowercase().starts_with(&prefix);
        self.iter().map(|(name, _)| name).filter(is_below).map(str::to_owned).collect()
    }

    fn host_id(&self) -> &str {
        &self.host_id
    }
}

/// The Azure Functions host uses a setting, or the site's name in lower case, at most 32 characters. A folder has no site: its name
/// is used, with a digest of its path, because many folders are named `app`.
fn host_id(dir: &Path, values: &BTreeMap<String, String>) -> String {
    let explicit = ["AzureFunctionsWebHost__hostid", "AzureFunctionsWebHost:hostid", "WEBSITE_SITE_NAME"];
    let named = explicit.iter().find_map(|name| values.get(*name).filter(|value| !value.is_empty()));
    let text = named.cloned().unwrap_or_else(|| {
        let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let digest = ring::digest::digest(&ring::digest::SHA256, absolute.as_os_str().as_encoded_bytes());
        let digest: String = digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        let name: String =
            absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(23).collect();
        format!("{name}-{digest}")
    });
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    text.to_ascii_lowercase().chars().map(allowed).take(32).collect()
}
