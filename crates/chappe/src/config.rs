//! Configuration: defaults, then `chappe.toml`, then `CHAPPE_SECTION__KEY`, then flags. All of it is read and checked before
//! the first port opens.

mod guard;
mod layers;
mod listen;
pub(crate) mod web_address;

use std::fmt;
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
    /// `https://live.example.org`. Unless it is an address of this machine, it ends development mode: the emulators' public keys are
    /// refused, because other machines can come through the proxy. Default: none; addresses are made from each request's own
    /// origin. Since 0.1.0.
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
    /// The functions host. Keys are asked for as soon as any service listens beyond this machine, or `public_url` leads others here.
    pub(crate) functions: functions::Options,
    /// Bodies of requests and answers that the process holds at a time.
    pub(crate) bodies: http_messages::Options,
    /// Requests that we make.
    pub(crate) egress: egress::Options,
    /// Files of the journal and the registry.
    pub(crate) state: state_embedded::Options,
    /// Logs and traces.
    pub(crate) telemetry: TelemetrySection,
}

/// Where each service listens: `host:port`, port 0 for any free one, or `off`. A port that is configured here and taken ends the
/// start; a default one moves to a free port in development mode.
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
            bodies: http_messages::Options::default(),
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

    /// Whether only this machine is known to reach anything. This is development mode: keys are public.
    pub(crate) fn is_development(&self) -> bool {
        self.exposure().is_none()
    }

    /// By what other machines may reach the process: something that listens beyond loopback, or a proxy of which a public address
    /// tells. A proxy on this machine connects over loopback like everybody else, so its clients could use public keys.
    pub(crate) fn exposure(&self) -> Option<Exposure> {
        let listens = self.listen.all().into_iter().find(|(_, listen)| !listen.is_loopback());
        let listens = listens.map(|(service, listen)| Exposure::Listens(service, listen.clone()));
        let addresses =
            [("public_url", &self.public_url), ("documents.public_url", &self.documents.public_url)];
        let public = addresses.into_iter().filter_map(|(key, url)| Some((key, url.as_ref()?)));
        let mut public = public.filter(|(_, url)| !web_address::is_loopback(url));
        listens.or_else(|| public.next().map(|(key, url)| Exposure::PublicAddress(key, url.clone())))
    }
}

/// By what other machines may reach the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// A service that listens beyond loopback.
    Listens(&'static str, Listen),
    /// An address for other machines, by the option that names it.
    PublicAddress(&'static str, String),
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listens(service, listen) => write!(f, "{service} listens on {listen}, beyond this machine"),
            Self::PublicAddress(key, url) => {
                write!(f, "{key} is {url}, so a proxy leads other machines here")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposure(flags: &[&str]) -> Option<String> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let config = load(None, &std::collections::BTreeMap::new(), &flags).expect("it can be read");
        assert_eq!(config.is_development(), config.exposure().is_none());
        config.exposure().map(|exposure| exposure.to_string())
    }

    #[test]
    fn development_mode_ends_where_other_machines_may_come() {
        assert_eq!(exposure(&[]), None);
        assert_eq!(
            exposure(&["public_url=http://localhost:3000", "documents.public_url=https://[::1]:8081/"]),
            None
        );
        for (flag, why) in [
            ("listen.admin=0.0.0.0:9000", "admin listens on 0.0.0.0:9000, beyond this machine"),
            (
                "public_url=https://live.example.org",
                "public_url is https://live.example.org, so a proxy leads other machines here",
            ),
            (
                "documents.public_url=http://192.168.1.2:8081",
                "documents.public_url is http://192.168.1.2:8081, so a proxy leads other machines here",
            ),
            (
                "documents.public_url=nonsense",
                "documents.public_url is nonsense, so a proxy leads other machines here",
            ),
        ] {
            assert_eq!(exposure(&[flag]).as_deref(), Some(why));
        }
    }
}
