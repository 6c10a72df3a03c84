//! Why an app cannot be loaded.

use std::path::PathBuf;

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
