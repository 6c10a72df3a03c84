//! [`ConnectorRow`]: what the process knows of a connector, and the dependencies to create one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use functions_contract::Connector;
use http_messages::Budget;

use super::resolver::LocalServices;
use crate::config::{ConnectorSection, SectionOptions, ServiceId};

/// A connector of this process. A new connector needs one crate and one row.
pub(crate) struct ConnectorRow {
    /// Its section in `chappe.toml`, `[connect.<name>]`, with the type of its options.
    pub(crate) section: ConnectorSection,
    pub(crate) create: for<'a> fn(Creating<'a>) -> Arc<dyn Connector>,
}

/// What is needed to create a connector, for each functions host.
pub(crate) struct Creating<'a> {
    /// Its options, as configured.
    pub(crate) options: &'a dyn SectionOptions,
    /// Determines which connection strings name a service of this process.
    pub(crate) local_services: Arc<LocalServices>,
    pub(crate) embedded: &'a Embedded,
    /// Sends requests to services of other processes.
    pub(crate) egress: &'a egress::Client,
    /// Limits the bytes of response bodies.
    pub(crate) bodies: &'a Budget,
    pub(crate) data_dir: &'a Path,
}

impl Creating<'_> {
    /// The options as their concrete type.
    pub(crate) fn options<O: Clone + 'static>(&self) -> O {
        let options = self.options.as_any().downcast_ref::<O>();
        options.expect("a row creates its connector with the options that its section reads").clone()
    }
}

/// The services of this process that triggers and bindings call without a socket.
#[derive(Default)]
pub(crate) struct Embedded {
    pub(crate) realtime: BTreeMap<ServiceId, realtime::Handle>,
    pub(crate) documents: BTreeMap<ServiceId, (documents::Service, documents::Handle)>,
}
