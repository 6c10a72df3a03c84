use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use http_messages::error_chain;

use super::*;
use functions_contract::AppSettings;

/// Files are `name: text`; the result is the error, or the text that `show` makes of the app.
fn check(
    files: &[(&str, &str)],
    environment: &[(&str, &str)],
    show: impl Fn(&App) -> String,
    expected: Expect,
) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("the file is written");
    }
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let text = match App::load(dir.path(), &environment) {
        Ok(app) => show(&app),
        Err(error) => error_chain(&error),
    };
    expected.assert_eq(&text.replace(&dir.path().display().to_string(), "DIR"));
}

fn refused(files: &[(&str, &str)], expected: Expect) {
    check(files, &[("FUNCTIONS_WORKER_RUNTIME", "node")], |_| "loaded".to_owned(), expected);
}

const HOST: (&str, &str) = ("host.json", r#"{"version":"2.0"}"#);

#[test]
fn an_app_that_cannot_be_loaded_is_an_error_that_says_what_to_do() {
    refused(
        &[],
        expect![
            "no host.json in DIR: `chappe start` runs in the folder of a function app, and every app has this file; change to the app's folder, or create host.json with { \"version\": \"2.0\" }"
        ],
    );
    refused(
        &[("host.json", "{\n  \"version\": \"2.0\"\n  oops\n}")],
        expect![
            "DIR/host.json: not valid JSON: expected `,` or `}` at line 3 column 3; correct the file at that place"
        ],
    );
    refused(
        &[("host.json", "[]")],
        expect!["DIR/host.json: the file contains JSON that is not an object; it must look like { ... }"],
    );
    refused(
        &[("host.json", "{}")],
        expect![[r#"DIR/host.json: "version" is missing; add "version": "2.0""#]],
    );
    refused(
        &[("host.json", r#"{"version":"1.0"}"#)],
        expect![[
            r#"DIR/host.json: "version" is "1.0", but only "2.0" is supported; write "version": "2.0""#
        ]],
    );
    refused(
        &[("host.json", r#"{"version":"2.0","functionTimeout":"5m"}"#)],
        expect![[
            r#"DIR/host.json: functionTimeout "5m" is not a time span; write it as "hh:mm:ss", or "-1" for no limit"#
        ]],
    );
    refused(
        &[HOST, ("local.settings.json", r#"{"IsEncrypted":true}"#)],
        expect![
            "DIR/local.settings.json: IsEncrypted is true, and only the tool that encrypted the settings can read them; run `func settings decrypt` in this folder, or write the values in plain and set IsEncrypted to false"
        ],
    );
    refused(
        &[HOST, ("local.settings.json", r#"{"Values":{"a":{"b":1}}}"#)],
        expect![[
            r#"DIR/local.settings.json: "Values"."a" is not text; settings are flat: write nested names as a__b, or the JSON as text"#
        ]],
    );
    check(
        &[HOST],
        &[],
        |_| "loaded".to_owned(),
        expect![
            "cannot determine the language of the app in DIR: FUNCTIONS_WORKER_RUNTIME is not set, and there is no worker.config.json, function_app.py, requirements.txt, package.json or pom.xml; set FUNCTIONS_WORKER_RUNTIME, for example to \"node\", in local.settings.json (Values) or in the environment"
        ],
    );
}

#[test]
fn json_with_comments_and_trailing_commas_is_accepted_as_by_core_tools() {
    let host = "\u{feff}{ // who needs\n \"version\": \"2.0\", /* comments\n */ \"extensions\": {\"HTTP\": {\"RoutePrefix\": \"/v1//\",\n \"maxOutstandingRequests\": -1,},},\n \"functionTimeout\": \"-1\", \"someday\": \"// no comment\", }";
    check(
        &[("host.json", host), ("package.json", "{}")],
        &[],
        |app| {
            format!(
                "{:?} {:?} {} {}",
                app.host.http, app.host.function_timeout, app.language, app.host.all["someday"]
            )
        },
        expect![[
            r#"HttpSection { route_prefix: "v1", outstanding_requests_max: None, concurrent_requests_max: None, custom_headers: [] } None node "// no comment""#
        ]],
    );
}

#[test]
fn the_environment_overrides_both_files() {
    let local = r#"{
        "IsEncrypted": false,
        "Values": {"FUNCTIONS_WORKER_RUNTIME": "node", "A": "file", "B": "file", "Count": 3},
        "ConnectionStrings": {"Sql": {"ConnectionString": "Server=x", "ProviderName": "p"}},
        "Host": {"LocalHttpPort": 7072, "CORS": "https://a.test/, https://b.test", "CORSCredentials": true}
    }"#;
    check(
        &[HOST, ("local.settings.json", local)],
        &[
            ("A", "environment"),
            ("AzureFunctionsJobHost__extensions__http__routePrefix", "x"),
            ("AzureWebJobsDb", "prefixed"),
            ("Db", "plain"),
        ],
        |app| {
            let setting = |name: &str| app.settings.setting(name);
            let connection = |name: &str| app.settings.connection(name);
            format!(
                "{:?} {:?} {:?} {:?}\n{:?} {:?} {:?}\n{:?} {:?} {} {}\n{}",
                setting("A"),
                setting("B"),
                setting("Count"),
                setting("AZURE_FUNCTIONS_ENVIRONMENT"),
                connection("Db"),
                connection("Sql"),
                connection("Nope"),
                app.local.http_port,
                app.local.cors_origins,
                app.local.cors_credentials,
                app.host.http.route_prefix,
                app.notices.join("\n")
            )
        },
        expect![[r#"
            Some("environment") Some("file") Some("3") Some("Development")
            Some("prefixed") Some("Server=x") None
            Some(7072) ["https://a.test", "https://b.test"] true x
            A is set in the environment and in local.settings.json; the value of the environment is used"#]],
    );
}

#[test]
fn functions_with_function_json_are_found_in_their_folders() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("the folder is made");
        std::fs::write(path, text).expect("the file is written");
    };
    write(
        "hello/function.json",
        r#"{"bindings":[{"type":"httpTrigger","name":"req","direction":"in"}],"disabled":"OFF"}"#,
    );
    write("hello/index.js", "");
    write("broken/function.json", r#"{"bindings":[]}"#);
    write("node_modules/readme.md", "");
    let (functions, errors) = index_folder(dir.path(), "node");
    let [hello] = functions.as_slice() else { panic!("one function") };
    assert_eq!((hello.name.as_str(), hello.raw_bindings.len()), ("hello", 1));
    assert!(hello.script_file.ends_with("hello/index.js"), "{}", hello.script_file);
    assert_eq!(hello.properties["disabled"], "OFF");
    expect![[r#"[("broken", FunctionError { description: ErrorDescription { code: "functions-invalid-function-json", statuses: [], fault: App, retry: AfterChange, happened: "\"function.json: ...\".", why: "The file is not JSON, declares no bindings, or does not lead to a script.", action: "Correct the file as the text says." }, text: "function.json: \"bindings\" is missing or empty; a function has at least a trigger" })]"#]]
        .assert_eq(&format!("{errors:?}"));
}

#[test]
fn a_hyphen_in_the_name_of_a_setting_matches_an_underscore() {
    let settings =
        MergedSettings::from_pairs("app", [("my_conn", "plain"), ("a-b", "exact"), ("a_b", "other")]);
    assert_eq!(settings.get("my-conn"), Some("plain"));
    assert_eq!(settings.get("a-b"), Some("exact"));
    assert_eq!(settings.get("my_con"), None);
}
