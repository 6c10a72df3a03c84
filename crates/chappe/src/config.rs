//! Configuration: defaults, then `chappe.toml`, then `CHAPPE_SECTION__KEY`, then flags. All of it is read and checked before
//! the first port opens.
//!
//! Start reading at `layers.rs` (the sources), then `sections.rs` (what can be configured); the options of services stand in their
//! crates and come in as [`Section`]s.

mod error;
mod guard;
mod layers;
mod listen;
mod read;
pub(crate) mod schema;
mod section;
mod sections;
mod service_id;
pub(crate) mod show;
pub(crate) mod web_address;

pub(crate) use error::{ConfigError, Origin};
pub(crate) use guard::{GuardSection, HostName, Network, Secret};
pub(crate) use layers::Layers;
pub(crate) use listen::Listen;
pub(crate) use section::{
    BodyBound, BodyStorage, ConnectorSection, NoOptions, Section, SectionOptions, Sections,
};
pub(crate) use sections::{
    Config, ConfiguredConnector, ConfiguredService, LogFormat, TelemetrySection, TlsSection,
};
pub(crate) use service_id::ServiceId;
