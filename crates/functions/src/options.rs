//! What the functions host can be told, and what it must be given.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the functions host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The function app's folder, with `host.json`; set by the program around. Default `.`.
    #[serde(skip)]
    pub app_dir: PathBuf,
    /// Which functions to run, by name; empty = all that `host.json` allows. Default empty. Since 0.1.0.
    pub functions: Vec<String>,
    /// Whether only this machine can connect; set by the program around. Keys that are made meanwhile open nothing later, when
    /// others can connect too. Default false.
    #[serde(skip)]
    pub development: bool,
    /// Whether keys are enforced; off, everybody may call everything, as with Core Tools. Default false. Since 0.1.0.
    pub enable_auth: bool,
    /// Origins that browsers may call from, or `*`; empty = what `local.settings.json` says. Default empty. Since 0.1.0.
    pub cors_origins: Vec<String>,
    /// Whether such calls may carry credentials. Default: what `local.settings.json` says. Since 0.1.0.
    pub cors_credentials: Option<bool>,
    /// Headers of responses that pages of such origins may read, beside the few that browsers always let them read. Default empty.
    /// Since 0.1.0.
    pub cors_exposed_headers: Vec<String>,
    /// Largest request body, in bytes; the setting `FUNCTIONS_REQUEST_BODY_SIZE_LIMIT` overrides it. Default 104857600.
    /// Since 0.1.0.
    pub body_bytes_max: usize,
    /// Bytes of request bodies from files (`bodies.spill_bytes_min`) that the app's workers may have at a time, as they hold each in
    /// memory; further requests wait, and a single larger one goes alone. Default 268435456. Since 0.1.0.
    pub worker_bodies_bytes_max: usize,
    /// HTTP requests under way or waiting, above which others are answered 429; `host.json` may set less. Default 10000.
    /// Since 0.1.0.
    pub requests_max: usize,
    /// How long a request waits for the app to start, in milliseconds; then 503. Default 60000. Since 0.1.0.
    pub start_wait_ms: u64,
    /// How often the files of an app that did not start are looked at, in milliseconds; it is tried again when they changed.
    /// Default 500. Since 0.1.0.
    pub watch_interval_ms: u64,
    /// Pause until an app that did not start is tried again without a change, in milliseconds; doubles. Default 5000.
    /// Since 0.1.0.
    pub start_retry_ms_min: u64,
    /// Longest such pause, in milliseconds. Default 60000. Since 0.1.0.
    pub start_retry_ms_max: u64,
    /// Log lines kept in memory. Default 2000. Since 0.1.0.
    pub log_lines_max: usize,
    /// Longest log line, in bytes; the rest is cut. Default 65536. Since 0.1.0.
    pub log_text_bytes_max: usize,
    /// Pause after the first failure of a trigger's source, in milliseconds; doubles. Default 100. Since 0.1.0.
    pub source_retry_ms_min: u64,
    /// Longest such pause, in milliseconds. Default 10000. Since 0.1.0.
    pub source_retry_ms_max: u64,
    /// How often a trigger's lag is measured, in milliseconds. Default 10000. Since 0.1.0.
    pub lag_interval_ms: u64,
    /// How long a timer stays ours without being renewed, in milliseconds. Default 60000. Since 0.1.0.
    pub timer_lease_ms: u64,
    /// Where files of the built-in workers are put; private to the user, and set by the program around. `None` = `chappe` in
    /// the user's cache folder. Default `None`.
    #[serde(skip)]
    pub cache_dir: Option<PathBuf>,
    /// Folders whose files are not the app's, wherever they are; set by the program around. Default: none.
    #[serde(skip)]
    pub ignored_dirs: Vec<PathBuf>,
    /// Whether triggers are started once the app has loaded; off where an app is only checked. Set by the program around. Default
    /// true.
    #[serde(skip)]
    pub runs_triggers: bool,
    /// Worker processes and how they are replaced; the setting `FUNCTIONS_WORKER_PROCESS_COUNT` overrides their number.
    /// Since 0.1.0.
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
            log_lines_max: 2_000,
            log_text_bytes_max: 64 * 1024,
            source_retry_ms_min: 100,
            source_retry_ms_max: 10_000,
            lag_interval_ms: 10_000,
            timer_lease_ms: 60_000,
            cache_dir: None,
            ignored_dirs: Vec::new(),
            runs_triggers: true,
            workers: crate::worker::PoolOptions::default(),
        }
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
