//! Tests which options a reload applies.

use super::*;
use crate::services;

/// A process-wide part or the default service of each section whose options may change.
const SECTIONS: [&str; 7] = ["documents", "edge", "functions", "gateway", "guard", "realtime", "telemetry"];

/// An option that is marked as reloadable must be applied, and tested in `tests/it/reload.rs`.
#[test]
fn every_option_marked_as_reloadable_belongs_to_a_part() {
    let marks = OptionAttributes::of_schema();
    let mut sections: Vec<&str> = marks.reloadable().filter_map(|path| path.split('.').next()).collect();
    sections.dedup();
    let mut expected = SECTIONS.to_vec();
    expected.push("tls");
    expected.sort_unstable();
    assert_eq!(sections, expected);
}

/// The options of the functions host that a reload applies are exactly those that are marked.
#[test]
fn the_marked_options_of_functions_are_those_that_a_reload_applies() {
    let text = r#"
        functions = ["f"]
        enable_auth = true
        cors_origins = ["https://a.test"]
        cors_credentials = true
        cors_exposed_headers = ["x-a"]
        body_bytes_max = 1
        worker_bodies_bytes_max = 1
        requests_max = 1
        start_wait_ms = 1
        watch_interval_ms = 1
        start_retry_ms_min = 1
        start_retry_ms_max = 1
        hot_reload = true
        hot_reload_quiet_ms = 1
        generation_drain_ms = 1
        log_lines_max = 1
        log_text_bytes_max = 1
        source_retry_ms_min = 1
        source_retry_ms_max = 1
        concurrency = { f = 1 }
        concurrency_interval_ms = 1
        usage_days_max = 1
        lag_interval_ms = 1
        timer_lease_ms = 1
        workers = { processes = 2 }
    "#;
    let table = |options: &functions::Options| Table::try_from(options).expect("options are TOML");
    let (old, new) = (functions::Options::default(), toml::from_str(text).expect("all keys are known"));
    let applied = table(&old.reloaded(&new));
    let marks = OptionAttributes::of_schema();
    for (key, value) in &table(&new) {
        assert_ne!(Some(value), table(&old).get(key), "{key} differs from its default");
        let is_applied = applied.get(key) == Some(value);
        assert_eq!(is_applied, marks.reloads(&format!("functions.{key}")), "{key}");
    }
    assert_eq!(table(&new).len(), text.matches(" = ").count() - 2, "every option is in the text");
}

#[test]
fn a_reload_keeps_values_that_need_a_restart() {
    let table = |text: &str| text.parse::<Table>().expect("TOML");
    let old = table("a = 1\n[edge]\nx = 1\ny = 1\n[edge.deep]\nz = 1\n");
    let new = table("a = 2\nb = 2\n[edge]\nx = 2\ny = 2\n[edge.deep]\nz = 2\nnew = 2\n");
    let reloads = |path: &str| ["edge.x", "edge.deep.new"].contains(&path);
    let expected = table("a = 1\n[edge]\nx = 2\ny = 1\n[edge.deep]\nz = 1\nnew = 2\n");
    assert_eq!(merged(&old, &new, "", &reloads), expected);
    let removed = merged(&old, &table("a = 2\n"), "", &reloads);
    assert_eq!(removed, old, "a section that is gone keeps what needs a restart");
}

/// The values that a reload merges are read like the file.
#[test]
fn serialised_configuration_values_are_parsed_back_unchanged() {
    let flags = [
        "realtime.chat.primary_key=k",
        "realtime.engine.hubs.chat.pending_bytes_max=7",
        "realtime.history=[{hub=\"chat\"}]",
        "realtime.upstream.templates=[{url_template=\"http://localhost/x\"}]",
        "gateway.routes=[{path=\"/x\",service=\"realtime.chat\"}]",
        "guard.hosts=[\"x.test\"]",
        "egress.proxy=\"off\"",
        "connect.cosmosdb.query_rows_max=9",
        "tls.certificate_file=/c.pem",
        "telemetry.otlp_endpoint=http://localhost:4318",
    ]
    .map(str::to_owned);
    let config = services::config(&flags);
    let none = BTreeMap::new();
    let layers = crate::config::Layers::load(services::sections(services::TABLE), None, &none, &[]);
    let read = layers.expect("nothing is wrong").read_values(&config.to_table());
    assert_eq!(read.expect("it can be read").to_table(), config.to_table());
}
