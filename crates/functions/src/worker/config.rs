//! `worker.config.json`: how a worker that is not ours is started.
//!
//! A foreign format, so it is read leniently. Its `profiles` are not looked at: they choose between variants that the real
//! host needs in its cloud.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::error::StartError;
use super::spec::WorkerSpec;

/// The file, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkerConfig {
    description: Description,
    process_options: ProcessOptions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Description {
    default_executable_path: String,
    default_worker_path: String,
    worker_directory: Option<String>,
    default_runtime_version: String,
    arguments: Vec<String>,
    worker_indexing: Flag,
}

/// `"true"` and `true` are both in use.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Text(String),
    #[default]
    Absent,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProcessOptions {
    process_startup_timeout: Option<String>,
    initialization_timeout: Option<String>,
    process_shutdown_timeout: Option<String>,
}

const FILE_NAME: &str = "worker.config.json";

impl WorkerConfig {
    pub(super) fn read(folder: &Path) -> Result<Self, StartError> {
        let path = folder.join(FILE_NAME);
        let problem = |problem: String| StartError::Config { path: path.clone(), problem };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            problem(format!("{error}; the worker directory must be the folder that holds this file"))
        })?;
        let text = text.trim_start_matches('\u{feff}');
        serde_json::from_str(text).map_err(|error| problem(format!("not a worker configuration: {error}")))
    }

    /// Fills in how to start the worker.
    pub(super) fn apply(self, folder: &Path, spec: &mut WorkerSpec) -> Result<(), StartError> {
        let description = self.description;
        let resolved = |text: &str| expand(text, folder, &description.default_runtime_version, spec);
        let base = description
            .worker_directory
            .as_deref()
            .map(&resolved)
            .map_or_else(|| folder.to_path_buf(), |directory| folder.join(directory));
        let command = resolved(&description.default_executable_path);
        let worker_path = resolved(&description.default_worker_path);
        if command.is_empty() {
            return Err(StartError::Config {
                path: folder.join(FILE_NAME),
                problem: "description.defaultExecutablePath is missing; it names the program to start"
                    .to_owned(),
            });
        }
        let mut arguments: Vec<_> = description.arguments.iter().map(|text| resolved(text).into()).collect();
        let is_file = |path: &str| base.join(path).is_file();
        // A program that lies beside its configuration is named relative to it.
        spec.command = if is_file(&command) { base.join(command) } else { PathBuf::from(command) };
        arguments.append(&mut spec.arguments);
        if !worker_path.is_empty() {
            arguments.push(base.join(worker_path).into_os_string());
        }
        spec.arguments = arguments;
        spec.worker_dir = base;
        spec.indexes = match description.worker_indexing {
            Flag::Bool(indexes) => indexes,
            Flag::Text(text) => text.eq_ignore_ascii_case("true"),
            Flag::Absent => false,
        };
        let options = self.process_options;
        let set = |text: Option<String>, target: &mut Duration| {
            if let Some(time) = text.as_deref().and_then(parse_time_span) {
                *target = time;
            }
        };
        set(options.process_startup_timeout, &mut spec.timeouts.startup);
        set(options.initialization_timeout, &mut spec.timeouts.initialization);
        set(options.process_shutdown_timeout, &mut spec.timeouts.shutdown);
        Ok(())
    }
}

/// Replaces `{os}`, `{architecture}`, `{workerDirectoryPath}` and `%VARIABLE%`; what is not set becomes empty.
fn expand(text: &str, folder: &Path, runtime_version: &str, spec: &WorkerSpec) -> String {
    let os = match std::env::consts::OS {
        "macos" => "OSX",
        "windows" => "WINDOWS",
        _ => "LINUX",
    };
    let architecture = if std::env::consts::ARCH == "aarch64" { "Arm64" } else { "X64" };
    let text = text
        .replace("{os}", os)
        .replace("{architecture}", architecture)
        .replace("{workerDirectoryPath}", &folder.display().to_string());
    let mut expanded = String::new();
    for (index, part) in text.split('%').enumerate() {
        let is_name = index % 2 == 1;
        match (is_name, spec.env.get(part)) {
            (false, _) => expanded.push_str(part),
            (true, Some(value)) => expanded.push_str(value),
            (true, None) if part == "FUNCTIONS_WORKER_RUNTIME_VERSION" => expanded.push_str(runtime_version),
            (true, None) => {}
        }
    }
    expanded
}

/// `hh:mm:ss`, with a fraction if need be.
fn parse_time_span(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut parts = 0;
    for part in text.split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
        parts += 1;
    }
    if parts != 3 {
        return None;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::spec::Road;
    use super::*;

    #[test]
    fn a_configuration_with_its_traps_is_applied() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = "\u{feff}{\"description\": {\"language\": \"python\", \"defaultExecutablePath\": \"%PY%\", \
            \"arguments\": [\"-u\"], \"defaultWorkerPath\": \"%FUNCTIONS_WORKER_RUNTIME_VERSION%/{os}/{architecture}/worker.py\", \
            \"defaultRuntimeVersion\": \"3.11\", \"workerIndexing\": \"true\"}, \
            \"processOptions\": {\"initializationTimeout\": \"00:02:00.5\"}}";
        std::fs::write(folder.path().join(FILE_NAME), text).expect("writable");
        let directory = folder.path().display().to_string();
        let env = BTreeMap::from([
            ("PY".to_owned(), "python3".to_owned()),
            ("languageworkers:python:workerDirectory".to_owned(), directory),
            ("languageWorkers__python__arguments".to_owned(), "-X dev".to_owned()),
        ]);
        let spec = WorkerSpec::resolve("python", folder.path(), env, folder.path(), "4").expect("resolved");
        assert_eq!(spec.road, Road::FunctionRpc);
        assert_eq!(spec.command, Path::new("python3"));
        assert_eq!(spec.arguments[..3], ["-u", "-X", "dev"]);
        let worker = spec.arguments[3].to_str().expect("plain");
        assert!(worker.contains("/3.11/") && worker.ends_with("/worker.py"), "{worker}");
        assert!(spec.indexes);
        assert_eq!(spec.timeouts.initialization, Duration::from_millis(120_500));
    }

    #[test]
    fn an_unknown_language_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = WorkerSpec::resolve("cobol", folder.path(), BTreeMap::new(), folder.path(), "4");
        let text = error.expect_err("no such worker").to_string();
        assert!(text.contains("languageWorkers__cobol__workerDirectory"), "{text}");
    }
}
