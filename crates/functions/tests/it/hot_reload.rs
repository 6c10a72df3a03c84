//! Hot reload: edits of an app that runs, with our own Node.js worker, on apps that need no packages.

use std::time::Duration;

use functions::Options;
use serde_json::json;

use crate::startup::{APP, Host, until};

/// `APP` with a version that its function `check` logs.
pub(crate) fn version(number: u32) -> String {
    APP.replace(
        "if (process.env.GREETING",
        &format!("console.log('version {number} runs'); if (!process.env.ANY && process.env.GREETING"),
    )
}

fn start(files: &[(&str, &str)]) -> Host {
    let settings = ("local.settings.json", r#"{"Values": {"ANY": "1"}}"#);
    Host::start(&[&[settings], files].concat(), fast)
}

pub(crate) fn fast(options: &mut Options) {
    options.hot_reload = Some(true);
    options.hot_reload_quiet_ms = 20;
}

impl Host {
    /// Calls the function until this version of it answers.
    pub(crate) async fn serves(&self, number: u32) {
        let line = format!("version {number} runs");
        let calls = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while self.logged(&line) == 0 {
                tick.tick().await;
                self.handle.invoke("check", &json!(null)).await.expect("every call succeeds");
            }
        };
        tokio::time::timeout(crate::fake::PATIENCE, calls).await.expect("in time");
    }

    /// Waits until a response contains these words; the log has them a moment earlier.
    async fn shows(&self, path: &str, words: &str) {
        let shown = async {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while !self.get(path).await.1.contains(words) {
                tick.tick().await;
            }
        };
        tokio::time::timeout(crate::fake::PATIENCE, shown).await.expect("in time");
    }

    /// How often the app was reloaded.
    fn reloads(&self) -> usize {
        self.logged("The function app was reloaded")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_code_or_settings_is_served_without_a_restart() {
    let host = start(&[("app.js", &version(1))]);
    host.starts().await;
    host.serves(1).await;
    host.write("app.js", &version(2));
    host.serves(2).await;
    assert_eq!(
        host.logged("The function app was reloaded after a change of app.js (version 2, started in"),
        1
    );
    // Without the setting, the function fails.
    host.write("local.settings.json", "{}");
    until(|| host.logged("reloaded after a change of local.settings.json") > 0).await;
    host.handle.invoke("check", &json!(null)).await.expect_err("the setting is gone");
    assert!(host.supervisor.not_ready().is_empty());
    host.handle.drain(Duration::from_secs(10)).await;
    assert!(host.handle.worker_pids().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_edit_leaves_the_previous_version_in_service_until_it_is_repaired() {
    let host = start(&[("app.js", &version(1))]);
    host.starts().await;
    for (file, broken, words) in [
        ("app.js", "const broken = {;", "app.js:1"),
        ("host.json", "{\"version\": \"2.0\",", "host.json: not valid JSON"),
        ("local.settings.json", "{", "local.settings.json: not valid JSON"),
        ("app.js", "", "no function is registered"),
    ] {
        host.write(file, broken);
        until(|| host.logged(words) > 0).await;
        host.handle.invoke("check", &json!(null)).await.expect("the previous version answers");
        assert!(host.supervisor.not_ready().is_empty(), "{file}");
        host.shows("/admin/host/status", words).await;
        host.shows("/admin/functions/check/status", words).await;
        assert!(host.get("/admin/host/status").await.1.contains("\"Running\""));
        assert!(host.logged("the previous version stays in service") > 0);
        let before = host.reloads();
        host.write("host.json", "{\"version\": \"2.0\"}");
        host.write("local.settings.json", r#"{"Values": {"ANY": "1"}}"#);
        host.write("app.js", &version(1));
        until(|| host.reloads() > before).await;
        host.shows("/admin/functions/check/status", "{}").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_with_broken_files_waits_for_the_next_edit() {
    let host = start(&[("app.js", &version(1)), ("host.json", "{")]);
    assert!(host.fails().await.contains("host.json: not valid JSON"));
    host.write("host.json", r#"{"version": "2.0"}"#);
    host.starts().await;
    host.serves(1).await;
    let host = start(&[("app.js", &version(1)), ("local.settings.json", "{\"Values\": {")]);
    assert!(host.fails().await.contains("local.settings.json: not valid JSON"));
    host.write("local.settings.json", r#"{"Values": {"ANY": "1"}}"#);
    host.starts().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_aborts_a_hanging_start() {
    let host = start(&[("app.js", &version(1))]);
    host.starts().await;
    host.write("app.js", "console.log('hangs'); while (true) {}");
    until(|| host.logged("hangs") > 0).await;
    host.write("app.js", &version(2));
    host.serves(2).await;
    // The worker that hung is gone, and so is the one of the previous version.
    until(|| host.handle.worker_pids().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_together_are_one_edit_and_unrelated_files_are_ignored() {
    let host = start(&[("app.js", &version(1))]);
    host.starts().await;
    for number in 0..200 {
        host.write(&format!("file-{number}.js"), "1");
    }
    host.write("app.js", &version(2));
    host.serves(2).await;
    let reloads = host.reloads();
    assert!((1..=2).contains(&reloads), "{reloads}");
    for name in ["app.log", "data.sqlite", "app.ts", "app.js~", ".#app.js", "4913"] {
        host.write(name, "1");
    }
    // A later edit shows that these were seen before, and led to nothing.
    host.write("app.js", &version(3));
    host.serves(3).await;
    assert_eq!(host.reloads(), reloads + 1);
}
