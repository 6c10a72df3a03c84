//! [`Endpoints`]: the SignalR services of a binding. Clients are sent to one of them, and messages go to all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value as Json, json};

use crate::endpoint_settings::EndpointType;
use crate::output::NamedEndpoint;
use crate::service::SignalRService;

/// A service with the name and type of its endpoint.
pub(crate) struct Endpoint {
    /// Empty for the connection string that the binding names.
    pub(crate) name: String,
    pub(crate) kind: EndpointType,
    /// Its address, without a slash at the end.
    pub(crate) url: String,
    pub(crate) service: Arc<dyn SignalRService>,
}

impl Endpoint {
    /// What functions see of it. The state of a service is not observed, so that each counts as online.
    pub(crate) fn to_json(&self) -> Map<String, Json> {
        let Self { name, kind, url, .. } = self;
        let facts = json!({ "endpointType": kind.name(), "name": name, "endpoint": url, "online": true });
        facts.as_object().cloned().unwrap_or_default()
    }

    fn is_named(&self, named: &NamedEndpoint) -> bool {
        self.name == named.name && self.kind == named.kind && self.url == named.url.trim_end_matches('/')
    }
}

/// The services of a binding; at least one.
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    /// How often one was chosen for a client.
    chosen: AtomicUsize,
}

impl Endpoints {
    pub(crate) fn new(all: Vec<Endpoint>) -> Self {
        Self { all, chosen: AtomicUsize::new(0) }
    }

    pub(crate) fn all(&self) -> &[Endpoint] {
        &self.all
    }

    /// The endpoint for the next client: the primary ones in turn; the secondary ones if there is no primary one.
    pub(crate) fn for_client(&self) -> &Endpoint {
        let primary: Vec<&Endpoint> =
            self.all.iter().filter(|endpoint| endpoint.kind == EndpointType::Primary).collect();
        let number = self.chosen.fetch_add(1, Ordering::Relaxed);
        match primary.len() {
            0 => &self.all[number % self.all.len()],
            count => primary[number % count],
        }
    }

    /// The endpoints for an item: those that it names, or all. Names without an endpoint are logged.
    pub(crate) fn for_item(&self, named: Option<&[NamedEndpoint]>) -> Vec<&Endpoint> {
        let Some(named) = named else { return self.all.iter().collect() };
        let mut found = Vec::new();
        for name in named {
            match self.all.iter().find(|endpoint| endpoint.is_named(name)) {
                Some(endpoint) => found.push(endpoint),
                None => tracing::warn!(
                    name = name.name,
                    endpoint = name.url,
                    "an item of a signalR output names an endpoint that the app settings do not have; it is not sent there"
                ),
            }
        }
        found
    }
}
