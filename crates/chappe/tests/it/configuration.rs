//! Each kind of wrong input is reported with a clear error, before a port is bound.

use std::path::Path;

use testkit::ChildProcess;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

/// Runs the binary in `folder` and expects that it exits with `code` and prints each of `words`.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn check(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let (found, text) = ChildProcess::fail(BINARY, folder, arguments).await.expect("the binary can be run");
    for word in words {
        assert!(text.contains(word), "{arguments:?} should say {word:?}:\n{text}");
    }
    assert_eq!(found, Some(code), "{text}");
}

fn folder_with(file: &str, content: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join(file), content).expect("a file can be written");
    folder
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let folder = folder_with("chappe.toml", "[listen]\ngatway = \"localhost:1\"\n");
    check(folder.path(), &["check"], 64, &["chappe.toml", "line 2", "gatway", "did you mean `gateway`?"]);
    let folder = tempfile::tempdir().expect("a folder can be made");
    let arguments = ["start", "--set", "realtime.primry_key=x"];
    check(folder.path(), &arguments, 64, &["realtime.primry_key", "did you mean `primary_key`?"]);
}

#[test]
fn a_folder_without_an_app_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    check(folder.path(), &["start"], 64, &["host.json", "chappe start"]);
    let left = std::fs::read_dir(folder.path()).expect("the folder is there").count();
    assert_eq!(left, 0, "nothing is left behind");
}

#[test]
fn a_missing_configuration_file_is_reported_by_name() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    check(folder.path(), &["start", "--config", "nowhere.toml"], 64, &["cannot read", "nowhere.toml"]);
}

#[test]
fn an_unknown_service_of_a_route_and_a_certificate_without_a_key_are_rejected() {
    let folder = folder_with("chappe.toml", "[[gateway.routes]]\npath = \"/x\"\nservice = \"orders\"\n");
    check(folder.path(), &["check", "--no-functions"], 64, &["orders", "documents", "realtime"]);
    let folder = folder_with("chappe.toml", "[tls]\ncertificate_file = \"here.pem\"\n");
    check(folder.path(), &["check", "--no-functions"], 64, &["tls.key_file", "belong together"]);
}

#[test]
fn an_invalid_upstream_template_is_rejected() {
    let template = "realtime.upstream.templates=[{url_template=\"http://h/{user}\"}]";
    let arguments = ["check", "--no-functions", "--set", template];
    let folder = tempfile::tempdir().expect("a folder can be made");
    check(folder.path(), &arguments, 64, &["[realtime]", "upstream template 1", "{user}", "{hub}"]);
    // Paths are relative to the file that names them.
    let folder = folder_with("chappe.toml", "[realtime.upstream]\ntemplates_file = \"settings.json\"\n");
    check(folder.path(), &["check", "--no-functions"], 64, &["settings.json", "No such file"]);
    let settings = r#"{"UpstreamSettings":{"Templates":[{"UrlTemplate":"http://localhost:7071/x"}]}}"#;
    std::fs::write(folder.path().join("settings.json"), settings).expect("a file can be written");
    check(folder.path(), &["check", "--no-functions"], 0, &[]);
}

#[test]
fn a_data_folder_in_use_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    let arguments = ["start", "--no-functions", "--data-dir", "data"];
    let first = runtime.block_on(ChildProcess::start(BINARY, folder.path(), &arguments)).expect("it starts");
    check(folder.path(), &[&arguments[..], &["--gateway-port", "0"]].concat(), 1, &["data"]);
    drop(first);
}

#[test]
fn an_invalid_command_line_exits_with_64() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let wrong = [
        (&["start", "--prot", "1"][..], "'--prot'"),
        (&["start", "--port", "x"], "invalid value 'x'"),
        (&["strat"], "unrecognized subcommand"),
        (&["start", "--timeout"], "a value is required"),
        (&["tail", "--hub"], "a value is required"),
        (&["tail", "--url", "nonsense"], "is not a web address"),
        (&[], "Usage"),
    ];
    for (arguments, words) in wrong {
        check(folder.path(), arguments, 64, &[words]);
    }
    check(folder.path(), &["--version"], 0, &["chappe"]);
}

/// A flag of `func start` without a meaning here is refused before anything starts, and the error names the equivalent.
#[test]
fn an_unsupported_flag_of_core_tools_names_its_replacement() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let arguments = ["start", "--no-functions", "--cert", "own.pfx", "--password", "x"];
    check(
        folder.path(),
        &arguments,
        64,
        &["--password of Functions Core Tools", "openssl pkcs12", "tls.key_file"],
    );
    let arguments = ["start", "--no-functions", "--json-output-file", "x"];
    check(folder.path(), &arguments, 64, &["--json-output-file", "--log json"]);
}

#[test]
fn a_body_limit_above_the_budget_of_bodies_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let memory = ["check", "--no-functions", "--set", "documents.body_bytes_max=200000000"];
    let text = ["documents.body_bytes_max is 200000000", "bodies.memory_bytes_max", "at most 117440512"];
    check(folder.path(), &memory, 64, &text);
    let disk = ["check", "--no-functions", "--set", "bodies.disk_bytes_max=1000000"];
    check(folder.path(), &disk, 64, &["functions.body_bytes_max is 104857600", "bodies.disk_bytes_max"]);
}

#[test]
fn help_lists_commands_flags_and_exit_codes() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    check(folder.path(), &["--help"], 0, &["start", "demo", "every connected client knows"]);
    check(
        folder.path(),
        &["start", "--help"],
        0,
        &["CHAPPE_SECTION__KEY", "Exit codes", "--data-dir", "--gateway-port", "--enableAuth"],
    );
}

#[test]
fn invalid_values_are_rejected_with_their_location() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let wrong = [
        ("public_url=live.example.org", "such as https://live.example.org"),
        ("telemetry.otlp_endpoint=nonsense", "is not a web address"),
        ("edge.connections_max=0", "expected a nonzero usize"),
        ("listen.gateway=localhost:99999", "write localhost:8080"),
        ("realtime.body_bytes_max=lots", "expected usize"),
    ];
    for (setting, words) in wrong {
        check(folder.path(), &["start", "--set", setting], 64, &[setting, words]);
    }
    let services = [
        ("documents.primary_key=wrong!", "the document service cannot start", "not base64"),
        ("realtime.primary_key=", "the realtime service cannot start", "primary_key is empty"),
    ];
    for (setting, what, why) in services {
        let arguments = ["start", "--no-functions", "--ephemeral", "--gateway-port", "0", "--set", setting];
        check(folder.path(), &arguments, 64, &[what, why]);
    }
}

#[tokio::test]
async fn every_value_is_shown_with_its_origin_and_secrets_are_hidden() {
    let file = "data_dir = \"kept\"\n\n[realtime]\nprimary_key = \"not for eyes\"\nmode = \"serverless\"\n\n\
                [realtime.chat]\nprimary_key = \"nor this\"\n\n[[realtime.upstream.templates]]\nurl_template = \
                \"https://x.example/?code=hidden-too\"\n";
    let folder = folder_with("chappe.toml", file);
    let variable = "CHAPPE_REALTIME__POLL_INTERVAL_MS=4000";
    let show = [
        variable,
        BINARY,
        "config",
        "show",
        "--no-functions",
        "--set",
        "telemetry.level=debug",
        "--gateway-port",
        "9",
    ];
    let (code, text) = ChildProcess::fail("/usr/bin/env", folder.path(), &show).await.expect("it runs");
    assert_eq!(code, Some(0), "{text}");
    let at = |line: usize| format!("# {}:{line}", folder.path().join("chappe.toml").display());
    for (section, key, origin) in [
        ("realtime", "mode = \"serverless\"", at(5)),
        ("realtime", "primary_key = \"(hidden)\"", at(4)),
        (
            "realtime",
            "poll_interval_ms = 4000",
            "# the environment variable CHAPPE_REALTIME__POLL_INTERVAL_MS".to_owned(),
        ),
        ("realtime.chat", "primary_key = \"(hidden)\"", at(8)),
        ("realtime.upstream", "request_timeout_ms = 100000", "# default".to_owned()),
        ("telemetry", "level = \"debug\"", "# the flag --set telemetry.level=debug".to_owned()),
        ("listen", "gateway = \"localhost:9\"", "# the flag --gateway-port 9".to_owned()),
        ("listen", "documents = \"localhost:8081\"", "# default".to_owned()),
    ] {
        let part = text.split(&format!("\n[{section}]\n")).nth(1).expect(section);
        let part = part.split("\n[").next().expect("it has a beginning");
        assert!(
            part.lines().any(|line| line == format!("{key} {origin}")),
            "{section}: {key} {origin} in\n{part}"
        );
    }
    for secret in ["not for eyes", "nor this", "hidden-too"] {
        assert!(!text.contains(secret), "{text}");
    }
    text.parse::<toml::Table>().expect("it is TOML");
    let (_, text) =
        ChildProcess::fail(BINARY, folder.path(), &["config", "show", "--no-functions", "--json"])
            .await
            .expect("it runs");
    let shown: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let values = shown["values"].as_array().expect("a list");
    let mode = values.iter().find(|value| value["key"] == "realtime.mode").expect("it is there");
    assert_eq!((&mode["value"], &mode["from"]["line"]), (&"serverless".into(), &5.into()));
}
