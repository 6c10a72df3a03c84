//! Configuration: defaults, then `chappe.toml`, then `CHAPPE_SECTION__KEY`, then flags. All of it is read and checked before
//! the first port opens.

mod guard;
mod layers;
mod listen;
pub(crate) mod web_address;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(crate) use guard::{GuardSection, HostName, Network, Secret};
pub(crate) use layers::{ConfigError, load};
pub(crate) use listen::Listen;

/// Everything that can be configured. Each section is the `Options` of the room it belongs to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where data is kept; relative to the app's folder. Default: `.chappe`. Since 0.1.0.
    pub(crate) data_dir: Option<PathBuf>,
    /// The address under which clients reach the gateway, where a proxy stands in front of it, such as
    /// `https://live.example.org`. Default: none; addresses are made from each request's own origin. Since 0.1.0.
    #[serde(deserialize_with = "web_address::required")]
    pub(crate) public_url: Option<String>,
    /// Whether the functions of the app run at all. Default: true. Since 0.1.0.
    pub(crate) run_functions: bool,
    /// Longest time that connections of clients and invocations may take to end once the process was asked to, in milliseconds.
    /// Requests that still run then have `edge.drain_timeout_ms`, and 5 seconds are added for what is stored; when all that is over
    /// the process ends, whatever blocks it, with status 1. Default: 20000. Since 0.1.0.
    pub(crate) drain_timeout_ms: NonZeroU64,
    /// Where each service listens.
    pub(crate) listen: ListenSection,
    /// By which names this process may be called, and which proxy may say who a caller is.
    pub(crate) guard: GuardSection,
    /// Connections and requests, as `edge` takes them.
    pub(crate) edge: edge::Options,
    /// TLS on the same ports.
    pub(crate) tls: TlsSection,
    /// Routes.
    pub(crate) gateway: gateway::Options,
    /// The realtime service.
    pub(crate) realtime: realtime::Options,
    /// The document service.
    pub(crate) documents: documents::Options,
    /// The functions host. Keys are asked for as soon as any service listens beyond this machine.
    pub(crate) functions: functions::Options,
    /// Bodies of requests and answers that the process holds at a time.
    pub(crate) bodies: body::Options,
    /// Requests that we make.
    pub(crate) egress: egress::Options,
    /// Files of the journal and the registry.
    pub(crate) state: state_embedded::Options,
    /// Logs and traces.
    pub(crate) telemetry: TelemetrySection,
}

/// Where each service listens: `host:port`, port 0 for any free one, or `off`. A port that is configured here and taken ends the
/// start; a default one moves to a free port while everything listens on loopback.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ListenSection {
    /// Default: `localhost:8080`. Since 0.1.0.
    pub(crate) gateway: Listen,
    /// Default: `localhost:7071`, where Functions Core Tools listen. Since 0.1.0.
    pub(crate) functions: Listen,
    /// Default: `localhost:8888`, where the SignalR emulator listens. Since 0.1.0.
    pub(crate) realtime: Listen,
    /// Default: `localhost:8081`, where the Cosmos DB emulator listens. Since 0.1.0.
    pub(crate) documents: Listen,
    /// Health, metrics and the rest of the admin API on a port of their own. Default: `off`; the gateway serves them to this
    /// machine. Since 0.1.0.
    pub(crate) admin: Listen,
}

/// Certificates. Without them a local authority makes a development certificate, kept in the data folder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsSection {
    /// A PEM file with the certificate chain. Default: none. Since 0.1.0.
    pub(crate) certificate_file: Option<PathBuf>,
    /// A PEM file with its private key. Default: none. Since 0.1.0.
    pub(crate) key_file: Option<PathBuf>,
}

/// Logs and traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetrySection {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,realtime=debug`. Default: `info`.
    /// Since 0.1.0.
    pub(crate) level: String,
    /// `pretty`, `json`, or `auto` for pretty on a terminal. Default: `auto`. Since 0.1.0.
    pub(crate) format: LogFormat,
    /// How many spans are kept in memory. Default: 8192. Since 0.1.0.
    pub(crate) spans_max: usize,
    /// Base address of an OTLP/HTTP collector, such as `http://localhost:4318`. Default: the variable
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; without it nothing is exported. Since 0.1.0.
    #[serde(deserialize_with = "web_address::or_empty")]
    pub(crate) otlp_endpoint: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl ListenSection {
    /// Every listener with its name.
    pub(crate) fn all(&self) -> [(&'static str, &Listen); 5] {
        // Taken apart whole, so that a new listener cannot be forgotten.
        let Self { gateway, functions, realtime, documents, admin } = self;
        [
            ("gateway", gateway),
            ("functions", functions),
            ("realtime", realtime),
            ("documents", documents),
            ("admin", admin),
        ]
    }
}

impl Default for ListenSection {
    fn default() -> Self {
        Self {
            gateway: Listen::default_port(8080),
            functions: Listen::default_port(7071),
            realtime: Listen::default_port(8888),
            documents: Listen::default_port(8081),
            admin: Listen::Off,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: None,
            public_url: None,
            run_functions: true,
            drain_timeout_ms: NonZeroU64::new(20_000).expect("not zero"),
            listen: ListenSection::default(),
            guard: GuardSection::default(),
            edge: edge::Options::default(),
            tls: TlsSection::default(),
            gateway: gateway::Options::default(),
            realtime: realtime::Options::default(),
            documents: documents::Options::default(),
            functions: functions::Options::default(),
            bodies: body::Options::default(),
            egress: egress::Options::default(),
            state: state_embedded::Options::default(),
            telemetry: TelemetrySection::default(),
        }
    }
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto, spans_max: 8192, otlp_endpoint: None }
    }
}

impl Config {
    /// Makes every relative path start at `base`, the folder of the file that named it.
    pub(crate) fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        self.data_dir.iter_mut().for_each(resolve);
        self.tls.certificate_file.iter_mut().for_each(resolve);
        self.tls.key_file.iter_mut().for_each(resolve);
        self.realtime.upstream.templates_file.iter_mut().for_each(resolve);
        self.gateway.routes.iter_mut().filter_map(|route| route.directory.as_mut()).for_each(resolve);
    }

    /// Whether everything that listens can be reached from this machine only. This is development mode: keys are public.
    pub(crate) fn loopback_only(&self) -> bool {
        self.listen.all().iter().all(|(_, listen)| listen.is_loopback())
    }
}
