//! The settings of the functions host.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the functions host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The folder of the function app, with `host.json`; set by the program around the host. Default `.`.
    #[serde(skip)]
    pub app_dir: PathBuf,
    /// The functions to run, by name; empty = all that `host.json` allows. Reloads. Default empty. Since 0.1.0.
    pub functions: Vec<String>,
    /// Whether only this machine can connect; set by the program around the host. Keys that are created in this mode are not valid
    /// when other machines can connect. Default false.
    #[serde(skip)]
    pub development: bool,
    /// Whether keys are enforced; if not, every caller may call every function, as with Core Tools. Default false. Since 0.1.0.
    pub enable_auth: bool,
    /// Allowed origins of browsers (CORS), or `*`; empty = those of `local.settings.json`. Reloads. Default empty. Since 0.1.0.
    pub cors_origins: Vec<String>,
    /// Whether requests from these origins may contain credentials. Reloads. Default: the value of `local.settings.json`. Since 0.1.0.
    pub cors_credentials: Option<bool>,
    /// Response headers that pages of these origins may read, in addition to those that browsers always expose. Reloads.
    /// Default empty.
    /// Since 0.1.0.
    pub cors_exposed_headers: Vec<String>,
    /// Largest request body, in bytes; the setting `FUNCTIONS_REQUEST_BODY_SIZE_LIMIT` overrides it. Reloads. Default 104857600. Since
    /// 0.1.0.
    pub body_bytes_max: usize,
    /// The total bytes of request bodies from files (`bodies.spill_bytes_min`) that are at the app's workers at a time, because workers
    /// keep them in memory; further requests wait, and a single larger body is sent alone. Default 268435456. Since 0.1.0.
    pub worker_bodies_bytes_max: usize,
    /// The limit of active and waiting HTTP requests, above which the host responds with 429; `host.json` may lower it. Reloads.
    /// Default 10000. Since 0.1.0.
    pub requests_max: usize,
    /// How long a request waits for the app to start, in milliseconds; after that, 503. Default 60000. Since 0.1.0.
    pub start_wait_ms: u64,
    /// The interval at which the files of the app are compared, in milliseconds: while it did not start, and for hot reload beside the
    /// events of the operating system, which some file systems do not give. Default 500. Since 0.1.0.
    pub watch_interval_ms: u64,
    /// The pause before an app that did not start is started again without a change, in milliseconds; doubles each time. Reloads.
    /// Default 5000. Since 0.1.0.
    pub start_retry_ms_min: u64,
    /// The longest such pause, in milliseconds. Reloads. Default 60000. Since 0.1.0.
    pub start_retry_ms_max: u64,
    /// Whether changes of the app's files are put into service while it runs (hot reload). Reloads. Default: in development mode. Since
    /// 0.1.0.
    pub hot_reload: Option<bool>,
    /// How long files must have been still before a change is put into service, in milliseconds. Default 100. Since 0.1.0.
    pub hot_reload_quiet_ms: u64,
    /// How long invocations of a version of the app that was replaced may go on, in milliseconds; then they are cut off with their
    /// workers. Reloads. Default 30000. Since 0.1.0.
    pub generation_drain_ms: u64,
    /// Log lines kept in memory. Default 2000. Since 0.1.0.
    pub log_lines_max: usize,
    /// The longest log line, in bytes; longer ones are truncated. Default 65536. Since 0.1.0.
    pub log_text_bytes_max: usize,
    /// The pause after the first failure of a trigger's source, in milliseconds; doubles each time. Reloads. Default 100. Since 0.1.0.
    pub source_retry_ms_min: u64,
    /// The longest such pause, in milliseconds. Reloads. Default 10000. Since 0.1.0.
    pub source_retry_ms_max: u64,
    /// The most invocations of one function at a time, by its name; more wait. Reloads. Default: no limit. Since 0.1.0.
    pub concurrency: BTreeMap<String, usize>,
    /// The interval at which dynamic concurrency (`concurrency.dynamicConcurrencyEnabled` in `host.json`) measures the load, in
    /// milliseconds. All of its pauses are multiples of it. Default 1000. Since 0.1.0.
    pub concurrency_interval_ms: u64,
    /// How many days the usage of functions is stored (`chappe functions usage`). Default 400. Since 0.1.0.
    pub usage_days_max: u32,
    /// The interval at which the lag of a trigger is measured, in milliseconds. Reloads. Default 10000. Since 0.1.0.
    pub lag_interval_ms: u64,
    /// The duration of the lease of a timer without renewal, in milliseconds. Reloads. Default 60000. Since 0.1.0.
    pub timer_lease_ms: u64,
    /// The folder for the files of the built-in workers; private to the user, and set by the program around the host. `None` = `chappe`
    /// in the user's cache folder. Default `None`.
    #[serde(skip)]
    pub cache_dir: Option<PathBuf>,
    /// Folders whose files do not belong to the app; set by the program around the host. Default: none.
    #[serde(skip)]
    pub ignored_dirs: Vec<PathBuf>,
    /// Whether triggers are started after the app has loaded; false if an app is only checked. Set by the program around the host.
    /// Default true.
    #[serde(skip)]
    pub runs_triggers: bool,
    /// Worker processes and their replacement; the setting `FUNCTIONS_WORKER_PROCESS_COUNT` overrides their number. Reloads. Since
    /// 0.1.0.
    pub workers: crate::worker::PoolOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            app_dir: PathBuf::from("."),
            functions: Vec::new(),
            development: false,
            enable_auth: false,
            cors_origins: Vec::new(),
            cors_credentials: None,
            cors_exposed_headers: Vec::new(),
            body_bytes_max: 104_857_600,
            worker_bodies_bytes_max: 256 * 1024 * 1024,
            requests_max: 10_000,
            start_wait_ms: 60_000,
            watch_interval_ms: 500,
            start_retry_ms_min: 5_000,
            start_retry_ms_max: 60_000,
            hot_reload: None,
            hot_reload_quiet_ms: 100,
            generation_drain_ms: 30_000,
            log_lines_max: 2_000,
            log_text_bytes_max: 64 * 1024,
            source_retry_ms_min: 100,
            source_retry_ms_max: 10_000,
            lag_interval_ms: 10_000,
            concurrency: BTreeMap::new(),
            concurrency_interval_ms: 1_000,
            usage_days_max: 400,
            timer_lease_ms: 60_000,
            cache_dir: None,
            ignored_dirs: Vec::new(),
            runs_triggers: true,
            workers: crate::worker::PoolOptions::default(),
        }
    }
}

impl Options {
    /// These options with the values of `new` for all that a reload applies (`Reloads.` in their comments). The others are read at the
    /// start only.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        // No `..`: whoever adds an option decides here whether a reload applies it.
        let Self {
            functions,
            cors_origins,
            cors_credentials,
            cors_exposed_headers,
            body_bytes_max,
            requests_max,
            start_retry_ms_min,
            start_retry_ms_max,
            hot_reload,
            generation_drain_ms,
            source_retry_ms_min,
            source_retry_ms_max,
            concurrency,
            lag_interval_ms,
            timer_lease_ms,
            workers,
            app_dir: _,
            development: _,
            enable_auth: _,
            worker_bodies_bytes_max: _,
            start_wait_ms: _,
            watch_interval_ms: _,
            hot_reload_quiet_ms: _,
            log_lines_max: _,
            log_text_bytes_max: _,
            concurrency_interval_ms: _,
            usage_days_max: _,
            cache_dir: _,
            ignored_dirs: _,
            runs_triggers: _,
        } = new.clone();
        Self {
            functions,
            cors_origins,
            cors_credentials,
            cors_exposed_headers,
            body_bytes_max,
            requests_max,
            start_retry_ms_min,
            start_retry_ms_max,
            hot_reload,
            generation_drain_ms,
            source_retry_ms_min,
            source_retry_ms_max,
            concurrency,
            lag_interval_ms,
            timer_lease_ms,
            workers,
            ..self.clone()
        }
    }

    /// Whether a change to `new` needs a new generation of the app: all but the rules of CORS are read when one starts.
    pub(crate) fn needs_generation(&self, new: &Self) -> bool {
        let cors = Self {
            cors_origins: new.cors_origins.clone(),
            cors_credentials: new.cors_credentials,
            cors_exposed_headers: new.cors_exposed_headers.clone(),
            ..self.clone()
        };
        cors != *new
    }

    /// Whether changes of the app's files are put into service while it runs.
    pub fn is_hot_reload_on(&self) -> bool {
        self.runs_triggers && self.hot_reload.unwrap_or(self.development)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_the_program_sets_are_not_configuration_keys() {
        for key in ["app_dir", "cache_dir", "ignored_dirs", "development", "runs_triggers"] {
            let text = format!(r#"{{"{key}": null}}"#);
            let error = serde_json::from_str::<Options>(&text).expect_err("not a key").to_string();
            assert!(error.contains(&format!("unknown field `{key}`")), "{error}");
        }
        let options: Options = serde_json::from_str(r#"{"workers": {"ready_wait_ms": 5}}"#).expect("keys");
        let workers = crate::worker::PoolOptions { ready_wait_ms: 5, ..Default::default() };
        assert_eq!(options, Options { workers, ..Options::default() });
    }
}
