use clap::Parser;

use super::super::{Cli, Command};
use super::*;

/// The configuration that `chappe start` has with these flags, without a file.
fn configured(flags: &[&str]) -> Result<Config, String> {
    let arguments = ["chappe", "start"].iter().chain(flags).map(std::ffi::OsString::from);
    let cli = Cli::try_parse_from(normalise(arguments)).map_err(|error| error.to_string())?;
    let Command::Start(start) = cli.command else { panic!("it was start") };
    let values = start.func.configuration(&crate::services::config(&[]), start.shared.port);
    let values = values.map_err(|error| error.to_string())?;
    let flags: Vec<String> = values.into_iter().map(|(key, value, _)| format!("{key}={value}")).collect();
    Ok(crate::services::config(&flags))
}

#[test]
fn the_port_flag_sets_the_address_of_functions() {
    let config = configured(&["-p", "7100"]).expect("known");
    assert_eq!(config.listen("functions"), Some(&Listen::localhost(7100)));
    assert!(config.listen("gateway").is_some_and(Listen::is_default));
    let config = configured(&["--port", "7100", "--address", "0.0.0.0"]).expect("known");
    assert_eq!(config.listen("functions").expect("it has one").to_string(), "0.0.0.0:7100");
    assert!(!config.is_development());
    let config = configured(&["--address", "::1"]).expect("known");
    assert_eq!(config.listen("functions").expect("it has one").to_string(), "[::1]:7071");
    assert!(configured(&["--address", "example.org"]).expect_err("a name").contains("not an IP address"));
}

#[test]
fn supported_flags_of_core_tools_set_configuration_keys() {
    let flags = [
        "--cors",
        "https://a.example,https://b.example",
        "--cors-credentials",
        "--enableAuth",
        "--timeout",
        "5",
        "--no-build",
        "--functions",
        "one",
        "two",
    ];
    let functions = configured(&flags).expect("known");
    let functions: &functions::Options = functions.options().expect("they are configured");
    assert_eq!(functions.cors_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(functions.cors_credentials, Some(true));
    assert!(functions.enable_auth);
    assert_eq!(functions.start_wait_ms, 5000);
    assert_eq!(functions.functions, ["one", "two"]);
    let open = configured(&["--enableAuth=false"]).expect("known");
    assert!(!open.options::<functions::Options>().expect("they are configured").enable_auth);
    assert!(configured(&["--verbose"]).expect("known").telemetry.level.contains("functions=debug"));
    assert_eq!(configured(&["--verbose=false"]).expect("known").telemetry.level, "info");
    let tls = configured(&["--useHttps", "--cert", "own.pem"]).expect("known").tls;
    let here = std::env::current_dir().expect("there is one");
    assert_eq!(tls.certificate_file, Some(here.join("own.pem")));
    assert_eq!(tls.key_file, tls.certificate_file);
}

#[test]
fn unsupported_flags_of_core_tools_name_their_replacement() {
    let refused = [
        (&["--cert", "own.pfx"][..], "openssl pkcs12"),
        (&["--password", "x"], "openssl pkcs12"),
        (&["--dotnet-isolated-debug"], "FUNCTIONS_ENABLE_DEBUGGER_WAIT"),
        (&["--enable-json-output"], "--log json"),
        (&["--json-output-file", "x"], "> FILE"),
        (&["--runtime", "inproc8"], "FUNCTIONS_WORKER_RUNTIME"),
        (&["--user-log-level", "Debug"], "host.json"),
    ];
    for (flags, words) in refused {
        let error = configured(flags).expect_err("it has no meaning here");
        assert!(error.contains(flags[0]) && error.contains(words), "{error}");
    }
}

#[test]
fn arguments_after_two_hyphens_go_to_the_language_runtime() {
    for flags in
        [&["--language-worker", "--", "--inspect=9229"][..], &["--language-worker", "--inspect=9229"]]
    {
        let arguments = ["chappe", "host", "start"].iter().chain(flags).map(std::ffi::OsString::from);
        let Command::Start(start) = Cli::try_parse_from(normalise(arguments)).expect("known").command else {
            panic!("`host start` is `start`")
        };
        let mut environment = BTreeMap::new();
        start.func.settings("node", &mut environment);
        let expected = ("languageWorkers__node__arguments".to_owned(), "--inspect=9229".to_owned());
        assert_eq!(environment.into_iter().collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn a_flag_selects_the_language() {
    let language = |flag: &str| {
        let Command::Start(start) = Cli::try_parse_from(["chappe", "start", flag]).expect("known").command
        else {
            panic!("it was start")
        };
        start.func.language()
    };
    assert_eq!(language("--javascript"), Some("node"));
    assert_eq!(language("--typescript"), Some("node"));
    assert_eq!(language("--dotnet-isolated"), Some("dotnet-isolated"));
    assert!(Cli::try_parse_from(["chappe", "start", "--python", "--java"]).is_err(), "one at a time");
}
