//! Sources in, configuration or a sentence out.

use super::*;
use crate::config::Listen;

fn read(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("chappe.toml");
    std::fs::write(&path, file).expect("a file can be written");
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let sections = crate::services::sections(crate::services::TABLE);
    Layers::load(sections, Some(&path), &environment, &flags)
        .and_then(|layers| layers.config())
        .map_err(|error| error.to_string().replace(&folder.path().display().to_string(), ""))
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let file =
        "[listen]\ngateway = \"localhost:1\"\nfunctions = \"localhost:2\"\nrealtime = \"localhost:3\"\n";
    let environment =
        [("CHAPPE_LISTEN__FUNCTIONS", "localhost:20"), ("CHAPPE_LISTEN__REALTIME", "localhost:30")];
    let config = read(file, &environment, &["listen.realtime=off"]).expect("all of it is right");
    let listen = |service| config.listen(service).expect("it has one").clone();
    assert_eq!(listen("gateway"), Listen::localhost(1));
    assert_eq!(listen("functions"), Listen::localhost(20));
    assert_eq!(listen("realtime"), Listen::Off);
    assert_eq!(listen("documents"), Listen::default_port(8081));
    assert!(!listen("gateway").is_default(), "it was configured");
}

#[test]
fn an_unknown_key_is_rejected_with_the_nearest_known_one() {
    let message = read("[listen]\ngatway = \"localhost:1\"\n", &[], &[]).expect_err("a misspelt key");
    assert!(message.contains("line 2") && message.contains("did you mean `gateway`?"), "{message}");
    let message = read("", &[("CHAPPE_LISTEN__FUNKTIONS", "off")], &[]).expect_err("a misspelt key");
    assert!(message.starts_with("the environment variable CHAPPE_LISTEN__FUNKTIONS"), "{message}");
    assert!(message.contains("did you mean `functions`?"), "{message}");
    let message = read("", &[], &["telemetry.levl=debug"]).expect_err("a misspelt key");
    assert!(
        message.contains("--set telemetry.levl=debug") && message.contains("did you mean `level`?"),
        "{message}"
    );
}

#[test]
fn an_address_of_a_named_service_under_listen_is_rejected_with_the_right_key() {
    let expected = "realtime.chat.listen = \"localhost:PORT\"";
    let message = read("", &[], &["listen.realtime.chat=localhost:8889"]).expect_err("a named service");
    assert!(message.contains("--set listen.realtime.chat") && message.contains(expected), "{message}");
    for file in ["[listen.realtime]\nchat = \"off\"\n", "[listen]\n\"realtime.chat\" = \"off\"\n"] {
        let message = read(file, &[], &[]).expect_err("a named service");
        assert!(message.contains("/chappe.toml") && message.contains(expected), "{message}");
    }
    let config = read("", &[], &["realtime.chat.listen=localhost:8889"]).expect("as the message says");
    let chat = config.services.iter().find(|service| service.id.to_string() == "realtime.chat");
    assert_eq!(chat.expect("it is configured").listen, Listen::localhost(8889));
}

#[test]
fn options_of_connectors_come_from_their_sections_and_variables() {
    let file = "[connect.cosmosdb]\nquery_rows_max = 7\nfeed_poll_delay_ms = 10\n";
    let variables = [("CHAPPE_CONNECT__COSMOSDB__FEED_POLL_DELAY_MS", "20")];
    let config = read(file, &variables, &["connect.signalr.retries_max=3"]).expect("all of it is right");
    let cosmosdb: &connect_cosmosdb::Options = config.options().expect("it is configured");
    assert_eq!((cosmosdb.query_rows_max.get(), cosmosdb.feed_poll_delay_ms), (7, 20));
    let signalr: &connect_signalr::Options = config.options().expect("it is configured");
    assert_eq!((signalr.retries_max, signalr.client_token_lifetime_s.get()), (3, 3600));
    let shown = config.to_table();
    assert_eq!(shown["connect"]["cosmosdb"]["query_rows_max"].as_integer(), Some(7));
    assert_eq!(shown["connect"]["signalr"]["retries_max"].as_integer(), Some(3));
    let message = read("[connect.cosmosbd]\nx = 1\n", &[], &[]).expect_err("a misspelt connector");
    assert!(message.contains("line 1") && message.contains("did you mean `cosmosdb`?"), "{message}");
}

#[test]
fn an_invalid_value_is_reported_with_its_source() {
    let message = read("[listen]\ngateway = \"nowhere\"\n", &[], &[]).expect_err("not an address");
    assert!(message.contains("line 2") && message.contains("write localhost:8080"), "{message}");
    let message = read("", &[], &["listen.gateway"]).expect_err("no value");
    assert!(message.contains("expected KEY=VALUE"), "{message}");
    let message = read("x = ", &[], &[]).expect_err("not TOML");
    assert!(message.starts_with("/chappe.toml"), "{message}");
}

#[test]
fn unrelated_environment_variables_are_ignored() {
    read("", &[("CHAPPE_HOME", "/x"), ("PATH", "/bin"), ("CHAPPE_CONFIG", "x")], &[])
        .expect("none of them counts");
}

#[test]
fn relative_paths_are_resolved_against_the_file_that_contains_them() {
    let config =
        read("[[gateway.routes]]\npath = \"/\"\ndirectory = \"public\"\n", &[], &[]).expect("a route");
    let gateway: &gateway::Options = config.options().expect("it is configured");
    let directory = gateway.routes[0].directory.clone().expect("a folder");
    assert!(directory.is_absolute() && directory.ends_with("public"), "{}", directory.display());
}
