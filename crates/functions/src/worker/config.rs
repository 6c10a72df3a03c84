//! `worker.config.json`: how to start a worker of another vendor. Unknown and malformed optional values are ignored.

mod command_line;
mod profile;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::error::StartError;
use super::spec::WorkerSpec;
use command_line::split;

/// The parts of the file that this host uses.
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
    worker_arguments: Vec<String>,
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
    /// Reads the file in a folder, and applies the first of its profiles whose conditions hold in this environment.
    pub(super) fn read(folder: &Path, spec: &WorkerSpec) -> Result<Self, StartError> {
        let path = folder.join(FILE_NAME);
        let problem = |problem: String| StartError::Config { path: path.clone(), problem };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            problem(format!("{error}; the worker directory must be the folder that holds this file"))
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let mut json: serde_json::Value =
            serde_json::from_str(text).map_err(|error| problem(format!("not JSON: {error}")))?;
        profile::apply(&mut json, &spec.env, &spec.host_version);
        serde_json::from_value(json).map_err(|error| problem(format!("not a worker configuration: {error}")))
    }

    /// Completes the description of how to start the worker.
    pub(super) fn apply(self, folder: &Path, spec: &mut WorkerSpec) -> Result<(), StartError> {
        let description = self.description;
        let variables = |text: &str| expand_variables(text, &description.default_runtime_version, &spec.env);
        let resolved = |text: &str| expand_placeholders(&variables(text), folder);
        let base = description
            .worker_directory
            .as_deref()
            .map(&resolved)
            .map_or_else(|| folder.to_path_buf(), |directory| folder.join(directory));
        // A variable may contain several arguments, a placeholder is a path that may contain spaces. Empty arguments are left out.
        let line = |arguments: &[String]| -> Vec<OsString> {
            let arguments = split(&variables(&arguments.join(" "))).into_iter();
            arguments.map(|argument| expand_placeholders(&argument, folder).into()).collect()
        };
        let command = resolved(&description.default_executable_path);
        let worker_path = resolved(&description.default_worker_path);
        if command.is_empty() {
            return Err(StartError::Config {
                path: folder.join(FILE_NAME),
                problem: "description.defaultExecutablePath is missing; it names the program to start"
                    .to_owned(),
            });
        }
        let is_file = |path: &str| base.join(path).is_file();
        let mut arguments = line(&description.arguments);
        arguments.append(&mut spec.arguments);
        if !worker_path.is_empty() {
            arguments.push(base.join(worker_path).into_os_string());
        }
        arguments.extend(line(&description.worker_arguments));
        // A program beside its configuration is named relative to it.
        let command = if is_file(&command) { base.join(command) } else { PathBuf::from(command) };
        if !description.default_runtime_version.is_empty() {
            let version = description.default_runtime_version;
            spec.env.entry(RUNTIME_VERSION.to_owned()).or_insert(version);
        }
        spec.command = command;
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

/// The variable with the requested version of the runtime.
const RUNTIME_VERSION: &str = "FUNCTIONS_WORKER_RUNTIME_VERSION";

/// Replaces `%VARIABLE%`; what is not set becomes empty.
fn expand_variables(text: &str, runtime_version: &str, env: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    for (index, part) in text.split('%').enumerate() {
        let is_name = index % 2 == 1;
        match (is_name, env.get(part)) {
            (false, _) => expanded.push_str(part),
            (true, Some(value)) => expanded.push_str(value),
            (true, None) if part == RUNTIME_VERSION => expanded.push_str(runtime_version),
            (true, None) => {}
        }
    }
    expanded
}

/// Replaces `{os}`, `{architecture}`, `{workerDirectoryPath}` and `{WorkerRoot}`, which the .NET SDK writes before a name.
fn expand_placeholders(text: &str, folder: &Path) -> String {
    let os = match std::env::consts::OS {
        "macos" => "OSX",
        "windows" => "WINDOWS",
        _ => "LINUX",
    };
    let architecture = if std::env::consts::ARCH == "aarch64" { "Arm64" } else { "X64" };
    let folder = folder.display().to_string();
    let root = format!("{}{}", folder.trim_end_matches(std::path::MAIN_SEPARATOR), std::path::MAIN_SEPARATOR);
    text.replace("{os}", os)
        .replace("{architecture}", architecture)
        .replace("{workerDirectoryPath}", &folder)
        .replace("{WorkerRoot}", &root)
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
    use super::super::spec::WorkerProtocol;
    use super::*;

    #[test]
    fn a_configuration_with_mark_variables_and_placeholders_is_applied() {
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
        assert_eq!(spec.protocol, WorkerProtocol::FunctionRpc);
        assert_eq!(spec.command, Path::new("python3"));
        assert_eq!(spec.arguments[..3], ["-u", "-X", "dev"]);
        let worker = spec.arguments[3].to_str().expect("plain");
        assert!(worker.contains("/3.11/") && worker.ends_with("/worker.py"), "{worker}");
        assert!(spec.indexes);
        assert_eq!(spec.timeouts.initialization, Duration::from_millis(120_500));
    }

    /// What a configuration makes of a folder with a blank in its name and these variables.
    fn resolved(language: &str, config: &str, env: &[(&str, &str)]) -> (WorkerSpec, tempfile::TempDir) {
        let root = tempfile::tempdir().expect("a temporary folder");
        let app = root.path().join("my app");
        std::fs::create_dir(&app).expect("writable");
        std::fs::write(app.join(FILE_NAME), config).expect("writable");
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let spec = WorkerSpec::resolve(language, &app, env, root.path(), "4.1037.0.0").expect("resolved");
        (spec, root)
    }

    #[test]
    fn arguments_are_read_like_a_command_line_around_paths_with_blanks() {
        let config = r#"{"description": {"language": "java", "defaultExecutablePath": "java",
            "arguments": ["-XX:+Tiered -noverify %JAVA_OPTS% %UNSET%", "\"-Da=b c\"", "-jar"], "defaultWorkerPath": "worker.jar",
            "workerArguments": ["--root {WorkerRoot}x %UNSET%"]}}"#;
        let (spec, root) = resolved("java", config, &[("JAVA_OPTS", "-Xmx1g -Dx=y")]);
        let app = root.path().join("my app");
        let worker = app.join("worker.jar").display().to_string();
        let last = app.join("x").display().to_string();
        let expected =
            ["-XX:+Tiered", "-noverify", "-Xmx1g", "-Dx=y", "-Da=b c", "-jar", &worker, "--root", &last];
        assert_eq!(spec.arguments, expected);
        assert_eq!(spec.env["AzureWebJobsScriptRoot"], spec.app_dir.display().to_string());
    }

    #[test]
    fn a_program_of_the_app_is_found_by_the_roots_placeholder() {
        let config = r#"{"description": {"language": "dotnet-isolated", "defaultExecutablePath": "{WorkerRoot}My",
            "defaultWorkerPath": "My.dll"}}"#;
        let (spec, root) = resolved("dotnet-isolated", config, &[]);
        assert_eq!(spec.command, root.path().join("my app/My"));
        assert_eq!(spec.env["FUNCTIONS_WORKER_RUNTIME"], "dotnet-isolated");
    }

    #[test]
    fn the_first_profile_that_holds_changes_the_description() {
        let config = r#"{"description": {"language": "python", "defaultExecutablePath": "python3", "defaultWorkerPath": "old.py",
                "defaultRuntimeVersion": "3.11"},
            "profiles": [
                {"profileName": "other", "conditions": [{"conditionType": "environment", "conditionName": "PLACE",
                    "conditionExpression": "^cloud$"}], "description": {"defaultWorkerPath": "cloud.py"}},
                {"profileName": "here", "conditions": [
                    {"conditionType": "environment", "conditionName": "PLACE", "conditionExpression": "(?i)^HOME"},
                    {"conditionType": "hostProperty", "conditionName": "hostVersion", "conditionExpression": "^4\\."}],
                    "description": {"defaultWorkerPath": "new.py"}},
                {"profileName": "later", "conditions": [], "description": {"defaultWorkerPath": "later.py"}}]}"#;
        let worker = |place: &str| {
            let (spec, _) = resolved("python", config, &[("PLACE", place)]);
            assert_eq!(spec.env["FUNCTIONS_WORKER_RUNTIME_VERSION"], "3.11");
            assert_eq!(spec.env["PYTHON_THREADPOOL_THREAD_COUNT"], "1000");
            let worker = Path::new(spec.arguments.last().expect("the worker's file"));
            worker.file_name().expect("a name").to_owned()
        };
        assert_eq!(worker("homely"), "new.py");
        assert_eq!(worker("cloud"), "cloud.py");
        assert_eq!(worker("elsewhere"), "later.py");
    }

    #[cfg(unix)]
    #[test]
    fn python_comes_from_the_virtual_environment_of_the_app() {
        let config = r#"{"description": {"language": "python", "defaultExecutablePath": "python", "defaultWorkerPath": "w.py"}}"#;
        let root = tempfile::tempdir().expect("a temporary folder");
        let (app, other) = (root.path().join("app"), root.path().join("other"));
        for folder in [app.join(".venv/bin"), other.join("bin"), root.path().join("bin")] {
            std::fs::create_dir_all(&folder).expect("writable");
        }
        std::fs::write(app.join(FILE_NAME), config).expect("writable");
        for file in [app.join(".venv/bin/python"), other.join("bin/python"), root.path().join("bin/python3")]
        {
            std::fs::write(file, "").expect("writable");
        }
        let command = |names: &[&str]| {
            let values = BTreeMap::from([
                ("VIRTUAL_ENV".to_owned(), other.display().to_string()),
                ("PATH".to_owned(), root.path().join("bin").display().to_string()),
                ("languageWorkers__python__defaultExecutablePath".to_owned(), "my-python".to_owned()),
            ]);
            let env = values.into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect();
            WorkerSpec::resolve("python", &app, env, root.path(), "4").expect("resolved").command
        };
        let all = ["VIRTUAL_ENV", "PATH", "languageWorkers__python__defaultExecutablePath"];
        assert_eq!(command(&all), Path::new("my-python"));
        assert!(command(&all[..2]).ends_with("app/.venv/bin/python"));
        std::fs::remove_file(app.join(".venv/bin/python")).expect("writable");
        assert_eq!(command(&all[..2]), other.join("bin/python"));
        assert_eq!(command(&["PATH"]), Path::new("python3"));
        assert_eq!(command(&[]), Path::new("python"));
    }

    #[test]
    fn a_hyphen_in_the_name_of_a_setting_may_be_an_underscore() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let config = r#"{"description": {"defaultExecutablePath": "dotnet"}}"#;
        std::fs::write(root.path().join(FILE_NAME), config).expect("writable");
        for name in [
            "languageWorkers__dotnet_isolated__workerDirectory",
            "languageWorkers:dotnet-isolated:workerDirectory",
        ] {
            let env = BTreeMap::from([(name.to_owned(), root.path().display().to_string())]);
            let app = root.path().join("app");
            let spec = WorkerSpec::resolve("dotnet-isolated", &app, env, root.path(), "4").expect(name);
            assert_eq!(spec.command, Path::new("dotnet"));
        }
    }

    #[test]
    fn an_unknown_language_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = WorkerSpec::resolve("cobol", folder.path(), BTreeMap::new(), folder.path(), "4");
        let text = error.expect_err("no such worker").to_string();
        assert!(text.contains("languageWorkers__cobol__workerDirectory"), "{text}");
    }
}
