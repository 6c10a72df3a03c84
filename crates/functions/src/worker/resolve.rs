//! [`WorkerSpec::resolve`]: finds the worker for a language.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::WorkerConfig;
use super::embedded;
use super::error::StartError;
use super::spec::{WorkerProtocol, WorkerSpec, WorkerTimeouts};

impl WorkerSpec {
    /// Finds the worker for a language and describes how to start it. Starts nothing; may write our own worker's files below
    /// `cache_dir`, which must be private to the user.
    ///
    /// `env` is the whole environment for the process, the app's settings included. These of its values matter here, as
    /// they do for the real host (names do not depend on case, and `:` may stand for `__`):
    /// `languageWorkers__<language>__workerDirectory` and `languageWorkers__workersDirectory` choose a worker that
    /// speaks FunctionRpc, `…__arguments` are put in front of the worker's file (`--inspect`), and
    /// `…__defaultExecutablePath` is the program. Without a folder, `node` has our own worker.
    pub fn resolve(
        language: &str,
        app_dir: &Path,
        env: BTreeMap<String, String>,
        cache_dir: &Path,
        host_version: &str,
    ) -> Result<Self, StartError> {
        let setting = |name: &str| setting(&env, &format!("languageWorkers__{name}")).map(str::to_owned);
        let own_folder = setting(&format!("{language}__workerDirectory")).map(PathBuf::from);
        let shared_folder = setting("workersDirectory").map(|folder| Path::new(&folder).join(language));
        let app_folder = app_dir.join("worker.config.json").is_file().then(|| app_dir.to_path_buf());
        let command = setting(&format!("{language}__defaultExecutablePath")).map(PathBuf::from);
        let arguments = setting(&format!("{language}__arguments")).unwrap_or_default();
        let arguments: Vec<OsString> = arguments.split_whitespace().map(OsString::from).collect();
        let folder = own_folder.or(shared_folder.filter(|folder| folder.is_dir())).or(app_folder);
        let mut spec = Self {
            language: language.to_owned(),
            protocol: WorkerProtocol::FunctionRpc,
            command: PathBuf::new(),
            arguments,
            app_dir: app_dir.canonicalize().unwrap_or_else(|_| app_dir.to_path_buf()),
            worker_dir: PathBuf::new(),
            env,
            indexes: false,
            host_version: host_version.to_owned(),
            timeouts: WorkerTimeouts::default(),
        };
        spec.add_variables();
        match folder {
            Some(folder) => {
                WorkerConfig::read(&folder, &spec)?.apply(&folder, &mut spec)?;
                spec.find_python();
            }
            None if language == "node" => spec.use_own_node_worker(cache_dir)?,
            None => {
                return Err(StartError::UnknownLanguage { language: language.to_owned(), built_in: "node" });
            }
        }
        if let Some(command) = command {
            spec.command = command;
        }
        Ok(spec)
    }

    /// Adds the variables that the real host and its tools set for workers and their libraries. The Python worker reads the app's
    /// folder from here.
    fn add_variables(&mut self) {
        let app_dir = self.app_dir.display().to_string();
        let mut add = |name: &str, value: &str| {
            self.env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        };
        add("AzureWebJobsScriptRoot", &app_dir);
        add("FUNCTIONS_WORKER_RUNTIME", &self.language);
        match self.language.as_str() {
            "python" => add("PYTHON_THREADPOOL_THREAD_COUNT", "1000"),
            "powershell" => add("PSWorkerInProcConcurrencyUpperBound", "1000"),
            _ => {}
        }
    }

    /// Python packages come from a virtual environment: that of the app, or else the active one.
    fn find_python(&mut self) {
        let is_plain = ["python", "python3"].iter().any(|name| self.command == Path::new(name));
        if self.language != "python" || !is_plain {
            return;
        }
        let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        let active = self.env.get("VIRTUAL_ENV").map(PathBuf::from);
        let environments = [Some(self.app_dir.join(".venv")), active].into_iter().flatten();
        let own = environments.map(|folder| folder.join(program)).find(|python| python.is_file());
        let is_on_path = |name: &str| {
            let path = self.env.get("PATH").map(OsString::from).unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
        };
        match own {
            Some(python) => self.command = python,
            None if is_on_path("python3") => self.command = PathBuf::from("python3"),
            None => {}
        }
    }

    fn use_own_node_worker(&mut self, cache_dir: &Path) -> Result<(), StartError> {
        let folder = embedded::materialise_node(cache_dir).map_err(|cause| StartError::Io {
            what: format!("write the Node.js worker below {}", cache_dir.display()),
            cause,
        })?;
        self.protocol = WorkerProtocol::Frames;
        self.command = PathBuf::from("node");
        self.arguments.push(folder.join("main.js").into_os_string());
        self.worker_dir = folder;
        self.indexes = true;
        self.timeouts.initialization = Duration::from_secs(120);
        Ok(())
    }
}

/// A setting by its name, regardless of case, of whether `__` or `:` separates its parts, and of whether a hyphen in it is written as
/// `_`, as shells want it.
fn setting<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let exact = env.get(name);
    let found = exact.or_else(|| {
        let plain = |name: &str| name.replace(':', "__").replace('-', "_");
        let wanted = plain(name);
        let same = |key: &str| key.len() <= wanted.len() && plain(key).eq_ignore_ascii_case(&wanted);
        env.iter().find(|(key, _)| same(key)).map(|(_, value)| value)
    });
    found.map(String::as_str).filter(|value| !value.is_empty())
}
