//! The flags of `func start` (Azure Functions Core Tools 4), so that commands and scripts written for it work here. A flag without
//! a meaning here is refused, and the error names what does the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::config::{Config, Listen};

/// What `start` and `check` take as `func start` does.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Flags of Functions Core Tools")]
pub(crate) struct FuncArgs {
    /// Origins from which browsers may call the functions, separated by commas, or `*`
    #[arg(long, value_name = "ORIGINS", value_delimiter = ',')]
    cors: Vec<String>,
    /// Let such calls carry cookies and the Authorization header
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    cors_credentials: Option<bool>,
    /// Run only these functions, separated by spaces; name the app's folder before this flag
    #[arg(long, value_name = "NAMES", num_args = 1..)]
    functions: Vec<String>,
    /// Ask for function keys, as in the cloud
    #[arg(long = "enableAuth", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    enable_auth: Option<bool>,
    /// Show addresses with https; every port takes TLS as well as plain HTTP, with or without this flag
    #[arg(long = "useHttps", action = ArgAction::SetTrue)]
    pub(crate) use_https: bool,
    /// A PEM file that holds the certificate chain and its private key
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Log what the services do as well (`telemetry.level=debug`)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    verbose: Option<bool>,
    /// How long requests wait for the app to start, in seconds; then they are answered 503
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Arguments for the language's runtime, such as `--language-worker -- "--inspect=9229"`
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    language_worker: Option<String>,
    /// The address of the functions, in place of localhost; beyond loopback keys are asked for
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// The folder of the app, as the argument without a flag
    #[arg(long, alias = "prefix", value_name = "DIR", conflicts_with = "app")]
    pub(crate) script_root: Option<PathBuf>,
    /// Build nothing: Chappe never does, and runs the app as it is
    #[arg(long, action = ArgAction::SetTrue)]
    no_build: bool,
    #[command(flatten)]
    language: LanguageArgs,
    #[command(flatten)]
    refused: RefusedArgs,
}

/// Which worker runs the app, in place of `FUNCTIONS_WORKER_RUNTIME`.
#[derive(Clone, Debug, Default, Args)]
#[group(multiple = false)]
struct LanguageArgs {
    /// The app is written in JavaScript (`--typescript`, `--python`, `--java`, `--powershell`, `--csharp`, `--dotnet-isolated` and
    /// `--custom` alike); in place of FUNCTIONS_WORKER_RUNTIME
    #[arg(long, aliases = ["typescript", "node"])]
    javascript: bool,
    #[arg(long, hide = true)]
    python: bool,
    #[arg(long, hide = true)]
    java: bool,
    #[arg(long, hide = true)]
    powershell: bool,
    #[arg(long, hide = true, alias = "dotnet")]
    csharp: bool,
    #[arg(long, hide = true)]
    dotnet_isolated: bool,
    #[arg(long, hide = true)]
    custom: bool,
}

/// Flags that have no meaning here. They are parsed so that the error can say what to do.
#[derive(Clone, Debug, Default, Args)]
struct RefusedArgs {
    #[arg(long, hide = true)]
    password: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    dotnet_isolated_debug: Option<bool>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_json_output: Option<bool>,
    #[arg(long, hide = true)]
    json_output_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    runtime: Option<String>,
    #[arg(long, hide = true)]
    user_log_level: Option<String>,
}

/// A flag of `func start` that cannot be used as it stands. The text says what to use instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} of Functions Core Tools has no meaning here: {instead}")]
pub(crate) struct FuncFlagError {
    flag: &'static str,
    instead: String,
}

impl FuncArgs {
    /// The values that the flags set, each as key, value and flag; they beat file and environment. `config` is what those say, `port` is
    /// that of `--port`.
    pub(crate) fn configuration(
        &self,
        config: &Config,
        port: Option<u16>,
    ) -> Result<Vec<(String, String, String)>, FuncFlagError> {
        self.refused.check()?;
        let mut values = Vec::new();
        let mut set = |key: &str, value: String, flag: &str| {
            values.push((key.to_owned(), value, flag.to_owned()));
        };
        if let Some(certificate) = &self.cert {
            let lower = certificate.to_string_lossy().to_ascii_lowercase();
            if lower.ends_with(".pfx") || lower.ends_with(".p12") {
                return Err(FuncFlagError { flag: "--cert with a .pfx file", instead: PFX.to_owned() });
            }
            // Not from the folder of the configuration file, but from where the command was typed.
            let file = std::path::absolute(certificate).unwrap_or_else(|_| certificate.clone());
            for key in ["tls.certificate_file", "tls.key_file"] {
                set(key, quoted(&file.to_string_lossy()), "--cert");
            }
        }
        if let Some((listen, flag)) = self.listen(config, port)? {
            set("listen.functions", listen, flag);
        }
        if !self.cors.is_empty() {
            let origins = self.cors.iter().map(|origin| origin.trim()).filter(|origin| !origin.is_empty());
            set("functions.cors_origins", list(origins), "--cors");
        }
        if let Some(credentials) = self.cors_credentials {
            set("functions.cors_credentials", credentials.to_string(), "--cors-credentials");
        }
        if !self.functions.is_empty() {
            set("functions.functions", list(self.functions.iter().map(String::as_str)), "--functions");
        }
        if let Some(enable_auth) = self.enable_auth {
            set("functions.enable_auth", enable_auth.to_string(), "--enableAuth");
        }
        if let Some(seconds) = self.timeout {
            set("functions.start_wait_ms", seconds.saturating_mul(1000).to_string(), "--timeout");
        }
        if self.verbose == Some(true) {
            set("telemetry.level", VERBOSE.to_owned(), "--verbose");
        }
        Ok(values)
    }

    /// The app settings that flags stand for, laid over the environment. `language` is the app's.
    pub(crate) fn settings(&self, language: &str, environment: &mut BTreeMap<String, String>) {
        if let Some(arguments) = &self.language_worker {
            environment.insert(format!("languageWorkers__{language}__arguments"), arguments.clone());
        }
    }

    /// The language that a flag names.
    pub(crate) fn language(&self) -> Option<&'static str> {
        let language = &self.language;
        let flags = [
            (language.javascript, "node"),
            (language.python, "python"),
            (language.java, "java"),
            (language.powershell, "powershell"),
            (language.csharp, "dotnet"),
            (language.dotnet_isolated, "dotnet-isolated"),
            (language.custom, "custom"),
        ];
        flags.into_iter().find_map(|(given, language)| given.then_some(language))
    }

    /// Where the functions listen, and the flag that says so.
    fn listen(
        &self,
        config: &Config,
        port: Option<u16>,
    ) -> Result<Option<(String, &'static str)>, FuncFlagError> {
        let Some(address) = &self.address else {
            return Ok(port.map(|port| (format!("localhost:{port}"), "--port")));
        };
        let configured = match config.listen("functions") {
            Some(Listen::On { port, .. }) => *port,
            _ => 7071,
        };
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        let listen = format!("{host}:{}", port.unwrap_or(configured));
        listen.parse::<Listen>().map_err(|_| FuncFlagError {
            flag: "--address with a name",
            instead: format!("{address:?} is not an IP address; write 127.0.0.1, 0.0.0.0 or localhost"),
        })?;
        Ok(Some((listen, "--address")))
    }
}

/// A text as a TOML string, so that it is not read as a number or a list.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    toml::Value::Array(texts.map(|text| toml::Value::String(text.to_owned())).collect()).to_string()
}

/// What `--verbose` logs: our own services in detail, libraries as before.
const VERBOSE: &str = "info,chappe=debug,functions=debug,realtime=debug,documents=debug,gateway=debug,edge=debug,egress=debug,\
                       connect_cosmosdb=debug";

const PFX: &str = "certificates are PEM files; convert it with `openssl pkcs12 -in FILE.pfx -nodes -out FILE.pem` and give \
                   --cert FILE.pem, or set tls.certificate_file and tls.key_file";

impl RefusedArgs {
    fn check(&self) -> Result<(), FuncFlagError> {
        let refused = |flag, instead: &str| Err(FuncFlagError { flag, instead: instead.to_owned() });
        if self.password.is_some() {
            return refused("--password", PFX);
        }
        if self.dotnet_isolated_debug.is_some() {
            return refused(
                "--dotnet-isolated-debug",
                "set FUNCTIONS_ENABLE_DEBUGGER_WAIT=True and DOTNET_STARTUP_HOOKS=Microsoft.Azure.Functions.Worker.Core in the \
                 environment, which the worker inherits",
            );
        }
        if self.enable_json_output.is_some() {
            return refused("--enable-json-output", "`--log json` prints every log line as JSON");
        }
        if self.json_output_file.is_some() {
            return refused("--json-output-file", "redirect the output: `chappe start --log json > FILE`");
        }
        if self.runtime.is_some() {
            return refused(
                "--runtime",
                "there is one host; FUNCTIONS_WORKER_RUNTIME, or a flag such as --javascript, chooses the language",
            );
        }
        if self.user_log_level.is_some() {
            return refused(
                "--user-log-level",
                "set logging.logLevel.Function in host.json, or the setting \
                 AzureFunctionsJobHost__logging__logLevel__Function",
            );
        }
        Ok(())
    }
}

/// What users of `func` type, as our own parser reads it: `host start` is `start`, and the value of `--language-worker` may stand
/// behind `--`.
pub(crate) fn normalise(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut normal: Vec<std::ffi::OsString> = arguments.into_iter().collect();
    if normal.get(1).is_some_and(|word| word == "host") && normal.get(2).is_some_and(|word| word == "start") {
        normal.remove(1);
    }
    let worker = normal.windows(2).position(|pair| pair[0] == "--language-worker" && pair[1] == "--");
    if let Some(at) = worker {
        normal.remove(at + 1);
    }
    normal
}

#[cfg(test)]
mod tests;
