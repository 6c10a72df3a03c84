//! What can be configured of the process as a whole, and the services as they are configured.

use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::guard::GuardSection;
use super::listen::Listen;
use super::section::{ConnectorSection, Section, SectionOptions};
use super::service_id::ServiceId;
use super::web_address;

/// Everything that can be configured. Each section is the `Options` of the crate that it belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The services, in the order of their table.
    #[serde(skip)]
    pub(crate) services: Vec<ConfiguredService>,
    /// The connectors, in the order of their table.
    #[serde(skip)]
    pub(crate) connectors: Vec<ConfiguredConnector>,
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
    /// Whether a change of the configuration file is applied at once, as far as it can be; otherwise SIGHUP, and `POST
    /// /chappe/api/reload`, ask for it. Default: true. Since 0.1.0.
    pub(crate) reload_on_change: bool,
    /// Longest time that connections of clients and invocations may take to end once the process was asked to, in milliseconds.
    /// Requests that still run then have `edge.drain_timeout_ms`, and 5 seconds are added for what is stored; when all that is over
    /// the process ends, whatever blocks it, with status 1. Default: 20000. Since 0.1.0.
    pub(crate) drain_timeout_ms: NonZeroU64,
    /// By which names this process may be called, and which proxy may say who a caller is.
    pub(crate) guard: GuardSection,
    /// Connections and requests, as `edge` takes them.
    pub(crate) edge: edge::Options,
    /// TLS on the same ports.
    pub(crate) tls: TlsSection,
    /// Bodies of requests and answers that the process holds at a time.
    pub(crate) bodies: http_messages::Options,
    /// Requests that we make.
    pub(crate) egress: egress::Options,
    /// Files of the journal and the registry.
    pub(crate) state: state_embedded::Options,
    /// Logs and traces.
    pub(crate) telemetry: TelemetrySection,
}

/// A service as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct ConfiguredService {
    pub(crate) id: ServiceId,
    pub(crate) section: &'static Section,
    /// Where it listens: `host:port`, port 0 for any free one, or `off`. A port that is configured and taken ends the start; a default
    /// one moves to a free port in development mode.
    pub(crate) listen: Listen,
    /// The folder of the app that a named service runs; the default one runs the app of the process.
    pub(crate) app: Option<PathBuf>,
    pub(crate) options: Box<dyn SectionOptions>,
}

/// A connector as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct ConfiguredConnector {
    pub(crate) section: &'static ConnectorSection,
    pub(crate) options: Box<dyn SectionOptions>,
}

impl ConfiguredConnector {
    /// Its section, such as `connect.cosmosdb`.
    pub(crate) fn path(&self) -> String {
        format!("connect.{}", self.section.name)
    }
}

impl ConfiguredService {
    /// The name that routes call it by; `None`: no route leads to it.
    pub(crate) fn target(&self) -> Option<String> {
        let target = self.section.target?;
        Some(self.id.name.as_ref().map_or_else(|| target.to_owned(), |name| format!("{target}.{name}")))
    }
}

/// Certificates. Without them a local authority makes a development certificate, kept in the data folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TlsSection {
    /// A PEM file with the certificate chain. New content of the file is a change too. Reloads. Default: none. Since 0.1.0.
    pub(crate) certificate_file: Option<PathBuf>,
    /// A PEM file with its private key. New content of the file is a change too. Reloads. Default: none. Since 0.1.0.
    pub(crate) key_file: Option<PathBuf>,
}

/// Logs and traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetrySection {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,realtime=debug`. Reloads. Default: `info`.
    /// Since 0.1.0.
    pub(crate) level: String,
    /// `text`, `json`, or `auto` for text on a terminal and JSON otherwise. Reloads. Default: `auto`. Since 0.1.0.
    pub(crate) format: LogFormat,
    /// How many spans are kept in memory. Default: 8192. Since 0.1.0.
    pub(crate) spans_max: usize,
    /// Base address of an OTLP/HTTP collector, such as `http://localhost:4318`. Default: the variable
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; without it nothing is exported. Since 0.1.0.
    #[serde(deserialize_with = "web_address::or_empty")]
    pub(crate) otlp_endpoint: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text for people.
    #[serde(alias = "pretty")]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            connectors: Vec::new(),
            data_dir: None,
            public_url: None,
            run_functions: true,
            reload_on_change: true,
            drain_timeout_ms: NonZeroU64::new(20_000).expect("not zero"),
            guard: GuardSection::default(),
            edge: edge::Options::default(),
            tls: TlsSection::default(),
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
        for service in &mut self.services {
            service.app.iter_mut().for_each(resolve);
            service.options.resolve_paths(base);
        }
        for connector in &mut self.connectors {
            connector.options.resolve_paths(base);
        }
    }

    /// Files whose content counts like an option: the option that names each, and the file.
    pub(crate) fn files(&self) -> Vec<(String, PathBuf)> {
        let tls =
            [("tls.certificate_file", &self.tls.certificate_file), ("tls.key_file", &self.tls.key_file)];
        let of_tls = tls.into_iter().filter_map(|(key, file)| Some((key.to_owned(), file.clone()?)));
        let of_services = self.services.iter().flat_map(|service| {
            let files = service.options.files().into_iter();
            files.map(|(key, file)| (format!("{}.{key}", service.id), file))
        });
        of_tls.chain(of_services).collect()
    }

    /// Whether only this machine is known to reach anything. This is development mode: keys are public.
    pub(crate) fn is_development(&self) -> bool {
        self.exposure().is_none()
    }

    /// By what other machines may reach the process: something that listens beyond loopback, or a proxy of which a public address
    /// tells. A proxy on this machine connects over loopback like everybody else, so its clients could use public keys.
    pub(crate) fn exposure(&self) -> Option<Exposure> {
        let services = || self.services.iter();
        let listens = services().find(|service| !service.listen.is_loopback());
        let listens =
            listens.map(|service| Exposure::Listens(service.id.to_string(), service.listen.clone()));
        let own = services().filter_map(|service| {
            let (key, url) = service.options.public_url()?;
            Some((format!("{}.{key}", service.id), url))
        });
        let of_gateway = self.public_url.as_deref().map(|url| ("public_url".to_owned(), url));
        let mut public = of_gateway.into_iter().chain(own).filter(|(_, url)| !web_address::is_loopback(url));
        listens.or_else(|| public.next().map(|(key, url)| Exposure::PublicAddress(key, url.to_owned())))
    }

    /// All values as they could stand in `chappe.toml`; what is not set is absent.
    pub(crate) fn to_table(&self) -> toml::Table {
        let mut root = toml::Table::try_from(self).expect("options are tables of plain values");
        let mut listen = toml::Table::new();
        for service in &self.services {
            let mut table = service.options.to_table();
            let address = toml::Value::String(service.listen.to_string());
            let Some(name) = &service.id.name else {
                listen.insert(service.id.service.to_owned(), address);
                root.insert(service.id.service.to_owned(), table.into());
                continue;
            };
            table.insert("listen".to_owned(), address);
            if let Some(app) = &service.app {
                table.insert("app".to_owned(), app.display().to_string().into());
            }
            // The default service of a section comes before the ones with names.
            let section = root.get_mut(service.id.service).and_then(toml::Value::as_table_mut);
            section.expect("the default service is there").insert(name.clone(), table.into());
        }
        root.insert("listen".to_owned(), listen.into());
        let connector = |connector: &ConfiguredConnector| {
            (connector.section.name.to_owned(), toml::Value::from(connector.options.to_table()))
        };
        let connect: toml::Table = self.connectors.iter().map(connector).collect();
        root.insert("connect".to_owned(), connect.into());
        root
    }

    /// The options of this type: of the default service, or of the connector.
    #[cfg(test)]
    pub(crate) fn options<O: 'static>(&self) -> Option<&O> {
        let of_services = self.services.iter().map(|service| &service.options);
        let mut all = of_services.chain(self.connectors.iter().map(|connector| &connector.options));
        all.find_map(|options| options.as_any().downcast_ref())
    }

    /// Where the default service of this section listens.
    pub(crate) fn listen(&self, section: &str) -> Option<&Listen> {
        self.services
            .iter()
            .find(|service| service.id.service == section && service.id.is_default())
            .map(|service| &service.listen)
    }
}

/// By what other machines may reach the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// A service that listens beyond loopback.
    Listens(String, Listen),
    /// An address for other machines, by the option that names it.
    PublicAddress(String, String),
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

    fn exposure(flags: &[&str]) -> Option<String> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let config = crate::services::config(&flags);
        assert_eq!(config.is_development(), config.exposure().is_none());
        config.exposure().map(|exposure| exposure.to_string())
    }

    #[test]
    fn development_mode_ends_when_other_machines_can_connect() {
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
