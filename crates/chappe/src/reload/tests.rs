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
