//! The command line. What it says with `--help` is written here.

mod func;
mod gateway;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::web_address;
use crate::data_folder::DataPart;

pub(crate) use func::{FuncArgs, FuncFlagError, normalise};
pub(crate) use gateway::{ExplainArgs, GatewayCommand, GatewayFileArgs};

/// Realtime, functions and documents in the Azure style, in one process, with no account anywhere.
#[derive(Debug, Parser)]
#[command(name = "chappe", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start with `chappe demo`: a document changes, a function runs, every connected client knows."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the function app in a folder, with the realtime service, the document service and the gateway beside it
    #[command(after_help = START_HELP)]
    Start(StartArgs),
    /// Run the example `live-documents`: open the line it prints, and edit
    Demo(DemoArgs),
    /// Load the configuration and the app as `start` would, say what is wrong with them, and end; nothing listens, no function runs
    Check(CheckArgs),
    /// Print what is configured, or the schema of chappe.toml
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Copy the data folder, also while a process works with it; the copy can be put in its place
    Backup(BackupArgs),
    /// Print where the certificate of the development authority is, and how .NET, Node.js, Python, Java and browsers trust it
    Trust(TrustArgs),
    /// Ask the functions host of a running process
    #[command(subcommand)]
    Functions(FunctionsCommand),
    /// Check the routes of a gateway, list them, or explain which one a request gets
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Print what happens in the realtime service of a running process: connections, groups, messages, and why connections end
    Tail(TailArgs),
}

const START_HELP: &str = "\
Configuration comes from chappe.toml in the app's folder; a variable CHAPPE_SECTION__KEY beats \
the file, and a flag beats both. The app itself is read as Functions Core Tools read it: \
host.json, local.settings.json.

A first SIGTERM or Ctrl-C drains: clients are told to reconnect, running invocations finish. \
A second one ends at once.

Exit codes: 0 ended as asked, 1 failed, 64 the command line, the configuration or the app is wrong, \
70 a part of the running process has ended.";

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The folder of the function app: the one with host.json
    #[arg(default_value = ".")]
    pub(crate) app: PathBuf,
    #[command(flatten)]
    pub(crate) shared: SharedArgs,
    #[command(flatten)]
    pub(crate) func: FuncArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The folder of the example; where it is missing, the example that the binary carries is unpacked there. Without this flag it is
    /// `examples/live-documents`, and before anything is written there you are asked
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Write the example into the current folder without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) shared: SharedArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The folder of the function app
    #[arg(default_value = ".")]
    pub(crate) app: PathBuf,
    /// Read the whole data folder instead, and say what is damaged or missing: the one that `start` would use, or DIR. No process
    /// may have it open
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    #[expect(
        clippy::option_option,
        reason = "clap tells by it: not given, given without a value, given with one"
    )]
    pub(crate) data: Option<Option<PathBuf>>,
    #[command(flatten)]
    pub(crate) shared: SharedArgs,
    #[command(flatten)]
    pub(crate) func: FuncArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every value that `start` would use, and where it came from: default, file and line, variable, flag. Secrets are hidden
    Show(Box<ShowArgs>),
    /// Print the JSON Schema of chappe.toml, by which editors complete and check it
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The folder of the function app
    #[arg(default_value = ".")]
    pub(crate) app: PathBuf,
    #[command(flatten)]
    pub(crate) shared: SharedArgs,
    #[command(flatten)]
    pub(crate) func: FuncArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The folder to make; it must not exist
    pub(crate) to: PathBuf,
    /// The data folder
    #[arg(long, default_value = ".chappe", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// The folder of the function app
    #[arg(default_value = ".")]
    pub(crate) app: PathBuf,
    /// The configuration file; without it, chappe.toml in the app's folder is read if it is there
    #[arg(long, value_name = "FILE", env = "CHAPPE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder; `.chappe` in the app's folder by default. It is made where it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print the path and nothing else, as in NODE_EXTRA_CA_CERTS="$(chappe trust --path)"
    #[arg(long)]
    pub(crate) path: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Only this hub
    #[arg(long)]
    pub(crate) hub: Option<String>,
    /// Only what concerns this user
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Only what concerns this group
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// Only what concerns this connection
    #[arg(long)]
    pub(crate) connection: Option<String>,
    /// The gateway of the process, or its admin port
    #[arg(long, default_value = "http://localhost:8080", value_parser = web_address::parse)]
    pub(crate) url: String,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionsCommand {
    /// Print executions, durations and GB-seconds of each function, counted as the Consumption plan of Azure Functions counts them
    Usage(UsageArgs),
}

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Only from this time on: a date, or a time such as 2026-11-30T12:00:00Z. Usage is counted by hour
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only this function
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Option<String>,
    /// One row for each function, or one for each function and day or hour
    #[arg(long, value_name = "PERIOD", default_value = "total")]
    pub(crate) by: UsagePeriod,
    /// The name of the service, if it is one of several: `orders` for `[functions.orders]`
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The gateway of the process, or its admin port
    #[arg(long, default_value = "http://localhost:8080", value_parser = web_address::parse)]
    pub(crate) url: String,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print comma-separated values with a header line
    #[arg(long)]
    pub(crate) csv: bool,
}

/// The period of a row of `functions usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsagePeriod {
    Total,
    Day,
    Hour,
}

impl UsagePeriod {
    /// The value of the parameter `by`.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

/// What `start` and `demo` have in common.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SharedArgs {
    /// The configuration file; without it, chappe.toml in the app's folder is read if it is there
    #[arg(long, value_name = "FILE", env = "CHAPPE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where data is kept; `.chappe` in the app's folder by default
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep data in a temporary folder that is removed at the end
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) ephemeral: bool,
    /// Go on although data of this part of the data folder is lost: journal, registry, documents or keys; may be repeated. What is
    /// left of a damaged file is kept beside it
    #[arg(long, value_name = "PART", conflicts_with = "ephemeral")]
    pub(crate) accept_loss: Vec<DataPart>,
    /// Set one value, such as `listen.gateway=localhost:9000` or `telemetry.level=debug`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The port of the functions, in place of 7071
    #[arg(short, long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// The port of the gateway, in place of 8080
    #[arg(long, value_name = "PORT")]
    pub(crate) gateway_port: Option<u16>,
    /// The format of log lines, also when the output is piped; without it, text on a terminal and JSON otherwise
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log: Option<LogFlag>,
    /// Run no functions: only the realtime service, the document service and the gateway
    #[arg(long)]
    pub(crate) no_functions: bool,
    /// Print one line of JSON on standard output when everything listens; logs go to standard error. `config show` prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `--log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFlag {
    Text,
    Json,
}

impl LogFlag {
    /// The value of `telemetry.format`.
    pub(crate) fn format(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl StartArgs {
    /// The folder of the app.
    pub(crate) fn app(&self) -> &Path {
        self.func.script_root.as_deref().unwrap_or(&self.app)
    }
}

impl ShowArgs {
    /// The folder of the app.
    pub(crate) fn app(&self) -> &Path {
        self.func.script_root.as_deref().unwrap_or(&self.app)
    }
}

impl CheckArgs {
    /// The folder of the app.
    pub(crate) fn app(&self) -> &Path {
        self.func.script_root.as_deref().unwrap_or(&self.app)
    }
}
