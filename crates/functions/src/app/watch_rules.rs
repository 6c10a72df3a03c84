//! [`WatchRules`]: which files of an app are watched for hot reload. Pure.

use std::path::Path;

use functions_contract::find_property;
use serde_json::Value as Json;

use super::App;

/// Files that are watched in every folder of an app, whatever its language.
const NAMES: [&str; 11] = [
    "host.json",
    "local.settings.json",
    "function.json",
    "package.json",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "requirements.txt",
    "pyproject.toml",
    "worker.config.json",
    "functions.metadata",
];

/// Folders whose files do not concern an app: repositories, editors, our own data, and what loading the app writes.
const IGNORED_FOLDERS: [&str; 8] =
    [".git", ".hg", ".svn", ".vs", ".vscode", ".idea", "__pycache__", ".cache"];

/// Our own data folder.
const OWN_FOLDER: &str = ".chappe";

/// Which files of an app are watched: those of its code, its settings, and those that `host.json` names (`watchFiles`,
/// `watchDirectories`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WatchRules {
    /// Extensions of the language's files, in lower case; `None` = all files, for a language that is not known here.
    extensions: Option<&'static [&'static str]>,
    /// Names of further files.
    files: Vec<String>,
    /// Further folders, below which every file is watched, with `/`.
    folders: Vec<String>,
}

impl WatchRules {
    /// The rules of an app.
    pub(crate) fn of(app: &App) -> Self {
        let list = |name: &str| match find_property(&app.host.all, name) {
            Some(Json::Array(names)) => {
                let texts = names.iter().filter_map(Json::as_str);
                texts.map(|text| text.trim_matches('/').replace('\\', "/")).collect()
            }
            _ => Vec::new(),
        };
        Self {
            extensions: extensions(&app.language),
            files: list("watchFiles"),
            folders: list("watchDirectories"),
        }
    }

    /// Whether a change of a file concerns the app. `path` is relative to the app.
    pub(crate) fn watches(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is = |known: &str| known.eq_ignore_ascii_case(&name);
        if NAMES.iter().any(|known| is(known)) || self.files.iter().any(|known| is(known)) {
            return true;
        }
        if self.folders.iter().any(|folder| path.starts_with(folder)) {
            return true;
        }
        let Some(extensions) = self.extensions else { return true };
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        extensions.contains(&extension.as_str())
    }
}

/// The extensions of the code that a worker loads; `None` for a language that is not known here. Extensions of sources that are compiled
/// first are not among them: the output is.
fn extensions(language: &str) -> Option<&'static [&'static str]> {
    Some(match language.to_ascii_lowercase().as_str() {
        "node" => &["js", "mjs", "cjs", "node", "wasm"],
        "python" => &["py"],
        "java" => &["jar", "class"],
        "dotnet-isolated" | "dotnet" => &["dll", "exe"],
        "powershell" => &["ps1", "psm1", "psd1"],
        _ => return None,
    })
}

/// Whether nothing in a folder concerns an app.
pub(super) fn is_ignored_folder(name: &str) -> bool {
    name == OWN_FOLDER || IGNORED_FOLDERS.contains(&name)
}

/// Whether an editor wrote a file for itself: a backup, a lock, or a file that it renames later.
pub(super) fn is_temporary(name: &str) -> bool {
    const ENDS: [&str; 7] = ["~", ".swp", ".swx", ".swo", ".tmp", "___jb_tmp___", "___jb_old___"];
    name.starts_with(".#")
        || (name.starts_with('#') && name.ends_with('#'))
        || ENDS.iter().any(|end| name.ends_with(end))
        // Vim creates this file to test whether it may.
        || name == "4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_settings_and_named_files_are_watched() {
        let rules = WatchRules {
            extensions: extensions("node"),
            files: vec!["prompt.txt".to_owned()],
            folders: vec!["data/rules".to_owned()],
        };
        for path in [
            "src/functions/a.js",
            "A.MJS",
            "host.json",
            "local.settings.json",
            "HttpTrigger/function.json",
            "package.json",
            "src/prompt.txt",
            "data/rules/deep/a.yaml",
        ] {
            assert!(rules.watches(Path::new(path)), "{path}");
        }
        for path in ["a.ts", "app.log", "db.sqlite", "readme.md", "data/a.yaml", "src/function.txt", "js"] {
            assert!(!rules.watches(Path::new(path)), "{path}");
        }
        let any = WatchRules { extensions: extensions("cobol"), ..rules };
        assert!(any.watches(Path::new("main.cob")));
    }

    #[test]
    fn temporary_files_of_editors_are_recognised() {
        for name in [".#app.js", "#app.js#", "app.js~", ".app.js.swp", "4913", "app.js___jb_tmp___"] {
            assert!(is_temporary(name), "{name}");
        }
        for name in ["app.js", "#.js", "temporary.js", ".env"] {
            assert!(!is_temporary(name), "{name}");
        }
    }
}
