//! `chappe gateway` checks, lists and explains routes of an Ocelot configuration and of `chappe.toml`.

use std::path::Path;
use std::process::Command;

use crate::configuration::check;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

const OCELOT: &str = r#"{
  // As .NET accepts it.
  "Routes": [
    {
      "UpstreamPathTemplate": "/orders/{id}", "UpstreamHttpMethod": ["Get"], "Priority": 2,
      "DownstreamPathTemplate": "/v1/orders/{id}", "DownstreamScheme": "http",
      "DownstreamHostAndPorts": [{"Host": "10.0.0.1", "Port": 81}, {"Host": "10.0.0.2", "Port": 81}],
      "UpstreamHeaderTransform": {"X-Via": "gateway"}, "QoSOptions": {"TimeoutValue": 500},
    },
    {
      "UpstreamPathTemplate": "/{all}", "DownstreamPathTemplate": "/{all}",
      "DownstreamHostAndPorts": [{"Host": "site"}], "UpstreamHost": "www.test"
    },
  ]
}"#;

/// The output of a command that succeeds.
fn output(folder: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(BINARY).args(arguments).current_dir(folder).env_remove("CHAPPE_CONFIG").output();
    let output = output.expect("the binary can be run");
    let text = String::from_utf8(output.stdout).expect("the output is UTF-8");
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    folder
}

#[test]
fn check_names_old_properties_and_policies_that_are_not_enforced() {
    let folder = folder(&[("ocelot.json", OCELOT)]);
    assert_eq!(
        output(folder.path(), &["gateway", "check"]),
        "note: ocelot.json: Routes[0] (/orders/{id}): QoSOptions: this policy is not enforced yet\n\
         note: ocelot.json: Routes[0] (/orders/{id}): QoSOptions.TimeoutValue: old name of Timeout; it is read, but write Timeout\n\
         The configuration is in order; it has 2 routes.\n"
    );
}

#[test]
fn every_problem_of_an_ocelot_configuration_is_reported_with_its_place() {
    let broken = OCELOT.replace("\"/v1/orders/{id}\"", "\"orders\"").replace("\"site\"", "\"\"");
    let folder = folder(&[("gw.json", &broken)]);
    let words = [
        "gw.json: Routes[0] (/orders/{id}): DownstreamPathTemplate: \"orders\" must start with '/'",
        "gw.json: Routes[1] (/{all}): DownstreamHostAndPorts[0].Host: is empty",
        "check-problem",
    ];
    check(folder.path(), &["gateway", "check", "gw.json"], 64, &words);
    check(folder.path(), &["gateway", "routes", "gw.json"], 64, &["must start with '/'", "1 more"]);
    check(folder.path(), &["gateway", "routes"], 64, &["ocelot.json", "name the file"]);
    check(folder.path(), &["gateway", "routes", "missing.json"], 64, &["cannot read missing.json"]);
}

#[test]
fn routes_are_listed_in_the_order_in_which_they_are_tried() {
    let folder = folder(&[("ocelot.json", OCELOT)]);
    assert_eq!(
        output(folder.path(), &["gateway", "routes"]),
        "any  www.test/{all} (priority 0)  http://site/{all}                       ocelot.json: Routes[1]\n\
         GET  /orders/{id} (priority 2)    http://10.0.0.1:81 (+1)/v1/orders/{id}  ocelot.json: Routes[0]\n"
    );
}

#[test]
fn explain_says_which_route_why_and_what_would_be_sent() {
    let folder = folder(&[("ocelot.json", OCELOT)]);
    let explain = |arguments: &[&str]| output(folder.path(), &[&["gateway", "explain"], arguments].concat());
    assert_eq!(
        explain(&["GET", "/orders/7?x=1&id=8", "--header", "Accept: text/plain"]),
        "GET /orders/7?x=1&id=8 (Host: localhost)\n\
         route: ocelot.json: Routes[0] (/orders/{id})\n\
         why:   the first route, by UpstreamHost, Priority and place in the files, whose method, host, path and headers match\n\
         sends: GET http://10.0.0.1:81/v1/orders/7?x=1 (or one of 1 more instances)\n\
         \x20      accept: text/plain\n\
         \x20      host: 10.0.0.1:81\n\
         \x20      x-via: gateway\n\
         not:   ocelot.json: Routes[1] (/{all}): only for the host www.test\n"
    );
    assert_eq!(
        explain(&["POST", "/orders/7"]),
        "POST /orders/7 (Host: localhost)\n\
         no route: 404 (no route matches method, host, headers and path)\n\
         not:   ocelot.json: Routes[1] (/{all}): only for the host www.test\n\
         not:   ocelot.json: Routes[0] (/orders/{id}): only for GET\n"
    );
    let text = explain(&["GET", "https://www.test/orders/7"]);
    assert!(text.contains("sends: GET http://site/orders/7\n"), "{text}");
    assert!(text.contains("Routes[0] (/orders/{id}): it matches too, but comes later\n"), "{text}");
}

#[test]
fn split_files_of_a_folder_are_merged_without_the_one_of_the_environment() {
    let part = |path: &str| OCELOT.replace("/orders/{id}", path);
    let folder = folder(&[
        ("ocelot.a.json", &part("/a")),
        ("ocelot.Development.json", "not even JSON"),
        ("ocelot.global.json", r#"{"GlobalConfiguration": {"DownstreamScheme": "https"}}"#),
    ]);
    let text = output(folder.path(), &["gateway", "explain", "GET", "/a"]);
    assert!(text.contains("route: ocelot.a.json: Routes[0] (/a)"), "{text}");
    check(
        folder.path(),
        &["gateway", "routes", "--environment", "Production"],
        64,
        &["ocelot.Development.json"],
    );
}

#[test]
fn routes_of_chappe_toml_are_listed_and_explained_with_the_default_ones() {
    let folder =
        folder(&[("chappe.toml", "[[gateway.routes]]\npath = \"/client/files\"\ndirectory = \"www\"\n")]);
    let text = output(folder.path(), &["gateway", "routes"]);
    assert!(text.starts_with("gateway:\n  /client/files  folder "), "{text}");
    assert!(text.contains("  /client        service realtime\n"), "{text}");
    let text = output(folder.path(), &["gateway", "explain", "GET", "/client/files/a.js?v=1"]);
    assert!(text.contains("  route: /client/files -> folder "), "{text}");
    assert!(text.contains("  sends: the file \"/a.js\" of that folder\n"), "{text}");
    let text = output(folder.path(), &["gateway", "explain", "GET", "/nowhere", "--file", "chappe.toml"]);
    assert!(text.contains("no route: 404 gateway-no-route"), "{text}");
}

#[test]
fn a_request_that_cannot_be_sent_is_rejected() {
    let folder = folder(&[("ocelot.json", OCELOT)]);
    for (arguments, word) in [
        (["G T", "/", "A: b"], "is not an HTTP method"),
        (["GET", "orders", "A: b"], "is neither a path nor an address"),
        (["GET", "/", "A"], "write NAME: VALUE"),
        (["GET", "/", "A b: c"], "is not the name of a header"),
    ] {
        let [method, target, header] = arguments;
        check(folder.path(), &["gateway", "explain", method, target, "--header", header], 64, &[word]);
    }
}
