//! A function app's folder: what its files and settings say, before any worker runs.
//!
//! Know these first: [`App::load`], [`Settings`].

mod function_json;
mod host_json;
mod language;
mod local_settings;
mod packages;
mod setting_use;
mod settings;
mod snapshot;

use std::path::{Path, PathBuf};

pub use host_json::{HostJson, HttpSection};
pub use local_settings::LocalSettings;
pub use packages::missing_packages;
pub use setting_use::SettingUse;
pub use settings::Settings;

pub(crate) use function_json::index_folder;
pub(crate) use host_json::RetryJson;
pub(crate) use setting_use::settings_used;
pub(crate) use settings::parse_timespan;
pub(crate) use snapshot::Snapshot;

use std::collections::BTreeMap;

/// A function app as its folder and its environment describe it.
#[derive(Clone, Debug)]
pub struct App {
    /// The folder.
    pub dir: PathBuf,
    /// `host.json`, with overrides of the environment.
    pub host: HostJson,
    /// `local.settings.json`, or its defaults.
    pub local: LocalSettings,
    /// App settings: the environment over the `Values` of `local.settings.json`.
    pub settings: Settings,
    /// Which worker runs the app, such as `node`.
    pub language: String,
    /// What the user should know about how the app was read; each a sentence.
    pub notices: Vec<String>,
}

/// Why an app cannot be loaded. Each message says what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadAppError {
    /// The folder has no `host.json`.
    #[error(
        "no host.json in {}: `chappe start` runs in the folder of a function app, and every app has this file; \
         change to the app's folder, or create host.json with {{ \"version\": \"2.0\" }}", dir.display()
    )]
    NoHostJson {
        /// The folder that was looked at.
        dir: PathBuf,
    },
    /// The folder does not exist or cannot be read.
    #[error("read {}; check that the path names a folder that this user may read", path.display())]
    Unreadable {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// A file is not the JSON that it should be. Holds the file and what is wrong, with a line where there is one.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Nothing says which language the app is written in.
    #[error(
        "cannot tell which language the app in {} is written in: FUNCTIONS_WORKER_RUNTIME is not set, and there is no \
         worker.config.json, function_app.py, requirements.txt, package.json or pom.xml; set FUNCTIONS_WORKER_RUNTIME, for \
         example to \"node\", in local.settings.json (Values) or in the environment",
        dir.display()
    )]
    NoLanguage {
        /// The app's folder.
        dir: PathBuf,
    },
    /// The folder holds the source of an app that must be built.
    #[error("{} holds the source of an app ({project}), not the app: {advice}", dir.display())]
    NotBuilt {
        /// The folder.
        dir: PathBuf,
        /// The file of the project.
        project: String,
        /// What to do.
        advice: String,
    },
}

impl App {
    /// Reads the app in `dir`. `environment` is a snapshot: the process's environment is never looked at from here.
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
        let (settings, mut notices) = Settings::merge(dir, environment, &local);
        let host = HostJson::parse(&host_text, settings.iter())
            .map_err(|problem| LoadAppError::Malformed { path: host_path, problem })?;
        notices.extend(host.notices());
        let language = language::find(dir, &settings, host.has_custom_handler())?;
        Ok(Self { dir: dir.to_owned(), host, local, settings, language, notices })
    }
}

fn read_optional(path: &Path) -> Result<Option<String>, LoadAppError> {
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(LoadAppError::Malformed {
                path: path.to_owned(),
                problem: "the file is not UTF-8 text; save it as UTF-8".to_owned(),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(LoadAppError::Unreadable { path: path.to_owned(), cause }),
    }
}

/// Makes JSON of what the tools in this field accept as JSON: a byte order mark, comments of both kinds and trailing
/// commas are taken out (Newtonsoft.Json, which reads these files in the real host, lets all of them pass). Lines keep
/// their numbers, so that errors point to the right place.
pub(crate) fn lenient_json(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' if in_string => {
                out.push(c);
                out.extend(rest.next());
            }
            '"' => {
                in_string = !in_string;
                out.push(c);
            }
            '/' if !in_string && rest.peek() == Some(&'/') => {
                while rest.peek().is_some_and(|next| *next != '\n') {
                    rest.next();
                }
            }
            '/' if !in_string && rest.peek() == Some(&'*') => {
                rest.next();
                let mut last = ' ';
                for inside in rest.by_ref() {
                    if last == '*' && inside == '/' {
                        break;
                    }
                    if inside == '\n' {
                        out.push('\n');
                    }
                    last = inside;
                }
                out.push(' ');
            }
            '}' | ']' if !in_string => {
                drop_trailing_comma(&mut out);
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

fn drop_trailing_comma(out: &mut String) {
    let kept = out.trim_end().len();
    if out[..kept].ends_with(',') {
        out.replace_range(kept - 1..kept, " ");
    }
}

/// Parses a foreign JSON file leniently; the error names line and column.
pub(crate) fn parse_object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    match serde_json::from_str(&lenient_json(text)) {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        Ok(_) => Err("the file holds JSON, but not an object; it must look like { ... }".to_owned()),
        Err(error) => Err(format!("not valid JSON: {error}; correct the file at that place")),
    }
}

#[cfg(test)]
mod tests;
