//! `chappe check` finds what prevents `start` from working. The apps need no packages: they register functions with the platform's
//! own module.

use std::path::Path;

use crate::configuration::check;

/// An app with these files in a folder of its own.
fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let always = [
        ("host.json", r#"{"version": "2.0"}"#),
        ("package.json", r#"{"main": "app.js"}"#),
        (
            "local.settings.json",
            r#"{"Values": {"FUNCTIONS_WORKER_RUNTIME": "node", "CosmosDbConnection": "x"}}"#,
        ),
    ];
    for (name, content) in always.iter().chain(files) {
        write(folder.path(), name, content);
    }
    folder
}

fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).expect("a file can be written");
}

const MODEL: &str = "
const core = require('@azure/functions-core');
core.setProgrammingModel({ name: 'stand-in', version: '1', getInvocationModel: () => ({}) });
";

const FUNCTIONS: &str = "
const output = { type: 'cosmosDB', direction: 'out', connection: 'CosmosDBConnection', databaseName: '%Db%', containerName: 'c' };
const trigger = { ...output, type: 'cosmosDBTrigger', direction: 'in' };
core.registerFunction({ name: 'changed', bindings: { item: trigger, $return: { type: 'signalR', direction: 'out', hubName: 'h' } } }, () => {});
core.registerFunction({ name: 'nightly', bindings: {
    timer: { type: 'timerTrigger', direction: 'in', schedule: '0 0 0 * * *' }, item: output } }, () => {});
core.registerFunction({ name: 'wrong', bindings: { timer: { type: 'timerTrigger', direction: 'in', schedule: 'often' } } }, () => {});
";

#[test]
fn a_missing_setting_is_reported_once_with_the_nearest_name_and_its_line() {
    let app = app(&[("app.js", &format!("{MODEL}{FUNCTIONS}"))]);
    let words = [
        "the setting \"CosmosDBConnection\" is missing: the functions changed, nightly need it",
        "did you mean \"CosmosDbConnection\", which exists?",
        "\"CosmosDBConnection\": \"AccountEndpoint=http://localhost:8081/;AccountKey=C2y6",
        "\"Db\": \"database\",",
        "\"AzureSignalRConnectionString\": \"Endpoint=http://localhost;Port=8888;AccessKey=ABCD",
        "the function 'wrong' is in error: the schedule",
    ];
    check(app.path(), &["check"], 64, &words);
    let line = r#"{"Values": {"FUNCTIONS_WORKER_RUNTIME": "node", "Db": "d",
        "CosmosDBConnection": "nonsense", "AzureSignalRConnectionString": "nonsense",}}"#;
    write(app.path(), "local.settings.json", line);
    // Also the connection of a trigger, which only a listener would open.
    check(
        app.path(),
        &["check"],
        64,
        &["the function 'changed' is in error", "the function 'nightly' is in error"],
    );
    let left = std::fs::read_dir(app.path()).expect("it can be read").count();
    assert_eq!(left, 4, "nothing is left in the app's folder");
}

#[test]
fn a_load_error_of_code_is_reported_with_its_location() {
    let broken = app(&[("app.js", "const broken = {;")]);
    check(
        broken.path(),
        &["check"],
        64,
        &["syntax error at", "app.js:1: Unexpected token", "const broken = {;"],
    );
    let throws =
        app(&[("app.js", "function setUp() {\n  throw new TypeError('no database');\n}\nsetUp();\n")]);
    let words =
        ["Cannot load app.js: no database", "TypeError: no database", "at setUp", "app.js:2:9", "app.js:4:1"];
    check(throws.path(), &["check"], 64, &words);
    let nothing = app(&[("app.js", "")]);
    check(nothing.path(), &["check"], 64, &["no function is registered"]);
}

#[test]
fn missing_packages_and_languages_are_reported() {
    let package = r#"{"main": "app.js", "dependencies": {"left-pad": "1", "@scope/thing": "1"}}"#;
    let packages = app(&[("app.js", "require('left-pad');"), ("package.json", package)]);
    check(packages.path(), &["check"], 64, &["not installed: left-pad, @scope/thing; run `npm install`"]);
    let language = app(&[("local.settings.json", r#"{"Values": {"FUNCTIONS_WORKER_RUNTIME": "python"}}"#)]);
    check(language.path(), &["check"], 64, &["no worker for language 'python'"]);
}

#[test]
fn a_source_folder_an_unknown_language_and_a_non_executable_program_are_reported() {
    let settings = ("local.settings.json", "{}");
    let own = app(&[settings]);
    std::fs::remove_file(own.path().join("package.json")).expect("it is there");
    check(
        own.path(),
        &["check"],
        64,
        &["cannot determine the language", "worker.config.json, function_app.py"],
    );
    write(own.path(), "Api.csproj", "");
    check(
        own.path(),
        &["check"],
        64,
        &["contains the source of an app (Api.csproj)", "run `dotnet build Api.csproj` there"],
    );
    write(own.path(), "pom.xml", "");
    std::fs::remove_file(own.path().join("Api.csproj")).expect("it is there");
    check(
        own.path(),
        &["check"],
        64,
        &["run `mvn package` there", "chappe start target/azure-functions/<name>"],
    );
    write(
        own.path(),
        "worker.config.json",
        r#"{"description": {"language": "dotnet-isolated", "defaultExecutablePath": "Api"}}"#,
    );
    write(own.path(), "Api", "");
    check(
        own.path(),
        &["check"],
        64,
        &["which runs dotnet-isolated functions: this user may not run it", "chmod +x"],
    );
    write(own.path(), "worker.config.json", "{}");
    check(own.path(), &["check"], 64, &["description.language is missing"]);
}

#[test]
fn missing_files_and_folders_of_the_configuration_are_reported() {
    let configuration = "[tls]\ncertificate_file = \"own.pem\"\nkey_file = \"own.key\"\n[egress]\nextra_root_files = [\"roots.pem\"]\n\
                         [[gateway.routes]]\npath = \"/\"\ndirectory = \"public\"\n";
    let app = app(&[("app.js", MODEL), ("chappe.toml", configuration)]);
    let words = [
        "[tls]: cannot read certificates",
        "own.pem",
        "roots.pem",
        "leads to the folder",
        "public, which does not exist",
    ];
    check(app.path(), &["check"], 64, &words);
}

#[test]
fn an_app_without_problems_is_reported_as_such() {
    let function = "core.registerFunction({ name: 'nightly', bindings: {
        timer: { type: 'timerTrigger', direction: 'in', schedule: '0 0 0 * * *' } } }, () => {});";
    let app = app(&[("app.js", &format!("{MODEL}{function}"))]);
    check(app.path(), &["check"], 0, &["are in order", "Functions: nightly."]);
}
