//! A function app's folder: its files and settings, read before any worker runs.
//!
//! Start with [`App::load`], [`MergedSettings`].

mod error;
mod function_json;
mod host_json;
mod language;
mod local_settings;
mod packages;
mod read;
mod settings;
mod snapshot;
mod watch_rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::LoadAppError;
pub use host_json::{HostJson, HttpSection};
pub use local_settings::LocalSettings;
pub use packages::missing_packages;
pub use settings::MergedSettings;

pub(crate) use function_json::index_folder;
pub(crate) use snapshot::{Snapshot, WatchScope};
pub(crate) use watch_rules::WatchRules;

use read::read_optional;

/// A function app as its folder and the environment describe it.
#[derive(Clone, Debug)]
pub struct App {
    /// The folder.
    pub dir: PathBuf,
    /// `host.json`, with overrides of the environment.
    pub host: HostJson,
    /// `local.settings.json`, or its defaults.
    pub local: LocalSettings,
    /// App settings: the environment over the `Values` of `local.settings.json`.
    pub settings: MergedSettings,
    /// The worker language, such as `node`.
    pub language: String,
    /// Warnings about the app's files and settings; each is a sentence.
    pub notices: Vec<String>,
}

impl App {
    /// Reads the app in `dir`. `environment` is a snapshot of the process's environment, which this function does not read.
    pub fn load(dir: &Path, environment: &BTreeMap<String, String>) -> Result<Self, LoadAppError> {
        let host_path = dir.join("host.json");
        let Some(host_text) = read_optional(&host_path)? else {
            if !dir.is_dir() {
                let cause = std::io::Error::from(std::io::ErrorKind::NotFound);
                return Err(LoadAppError::Unreadable { path: dir.to_owned(), cause });
            }
            return Err(LoadAppError::NoHostJson { dir: dir.to_owned() });
        };
        let local_path = dir.join("local.settings.json");
        let local = match read_optional(&local_path)? {
            Some(text) => LocalSettings::parse(&text)
                .map_err(|problem| LoadAppError::Malformed { path: local_path, problem })?,
            None => LocalSettings::default(),
        };
        let (settings, mut notices) = MergedSettings::merge(dir, environment, &local);
        let host = HostJson::parse(&host_text, settings.iter())
            .map_err(|problem| LoadAppError::Malformed { path: host_path, problem })?;
        notices.extend(host.notices());
        let language = language::find(dir, &settings, host.has_custom_handler())?;
        Ok(Self { dir: dir.to_owned(), host, local, settings, language, notices })
    }
}

impl App {
    /// The known parts of an app whose files cannot be read: the settings of the environment, and those of `local.settings.json` if
    /// that file can be read. For a host that waits until the files are repaired.
    pub fn unreadable(dir: &Path, environment: &BTreeMap<String, String>) -> Self {
        let text = read_optional(&dir.join("local.settings.json")).ok().flatten();
        let local = text.and_then(|text| LocalSettings::parse(&text).ok()).unwrap_or_default();
        let (settings, notices) = MergedSettings::merge(dir, environment, &local);
        let host = HostJson::parse(r#"{"version": "2.0"}"#, std::iter::empty());
        let host = host.expect("the smallest host.json is valid");
        Self { dir: dir.to_owned(), host, local, settings, language: String::new(), notices }
    }
}

#[cfg(test)]
mod tests;
