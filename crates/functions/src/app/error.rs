//! Why an app cannot be loaded.

use std::path::PathBuf;

use http_messages::ErrorDescription;

use crate::error_table::app;

/// Why an app cannot be loaded. Each message says what happened, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadAppError {
    /// The folder has no `host.json`.
    #[error(
        "no host.json in {}: `chappe start` runs in the folder of a function app, and every app has this file; \
         change to the app's folder, or create host.json with {{ \"version\": \"2.0\" }}", dir.display()
    )]
    NoHostJson {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder does not exist or cannot be read.
    #[error("cannot read {}; check that the path names a folder that this user may read", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// A file is malformed.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column if known, and what to do.
        problem: String,
    },
    /// The language of the app cannot be determined.
    #[error(
        "cannot determine the language of the app in {}: FUNCTIONS_WORKER_RUNTIME is not set, and there is no \
         worker.config.json, function_app.py, requirements.txt, package.json or pom.xml; set FUNCTIONS_WORKER_RUNTIME, for \
         example to \"node\", in local.settings.json (Values) or in the environment",
        dir.display()
    )]
    NoLanguage {
        /// The app's folder.
        dir: PathBuf,
    },
    /// The folder contains the source of an app that must be built first.
    #[error("{} contains the source of an app ({project}), not its build output: {advice}", dir.display())]
    NotBuilt {
        /// The folder.
        dir: PathBuf,
        /// The file of the project.
        project: String,
        /// What to do.
        advice: String,
    },
}

impl LoadAppError {
    /// Whether an edit of a file is the reason and the remedy, so that a host in development mode waits for the next one.
    pub fn is_edit(&self) -> bool {
        matches!(self, Self::Malformed { .. })
    }

    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::NoHostJson { .. } => &app::NO_HOST_JSON,
            Self::Unreadable { .. } => &app::APP_UNREADABLE,
            Self::Malformed { .. } => &app::APP_FILE_MALFORMED,
            Self::NoLanguage { .. } => &app::NO_LANGUAGE,
            Self::NotBuilt { .. } => &app::NOT_BUILT,
        }
    }
}
