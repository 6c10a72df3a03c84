//! [`SignalR`]: creates the bindings of this crate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use functions_contract::{
    AppSettings, BindingError, BindingSpec, ConnectionSetting, Connector, Direction, PushExtension,
    PushTrigger, Reader, Sink,
};

use crate::binding::{ConnectionInfo, EndpointList, MessageSink, Negotiation};
use crate::connection::{self, setting_of};
use crate::endpoint_settings::{ConfiguredEndpoint, ENDPOINTS, endpoints};
use crate::endpoints::{Endpoint, Endpoints};
use crate::options::Options;
use crate::remote::{RemoteService, RestClient};
use crate::service::InProcess;
use crate::trigger::{Declaration, Routing, SignalRTrigger};

const TRIGGER: &str = "signalRTrigger";
const CONNECTION_INFO: &str = "signalRConnectionInfo";
const NEGOTIATION: &str = "signalRNegotiation";
const ENDPOINT_LIST: &str = "signalREndpoints";

/// The connector for `signalRTrigger`, `signalRConnectionInfo`, `signalRNegotiation`, `signalREndpoints` and `signalR`.
pub struct SignalR {
    in_process: InProcess,
    client: Arc<RestClient>,
    client_token_lifetime: Duration,
}

impl SignalR {
    /// A connector that uses the service that `in_process` finds, and otherwise sends requests through `egress`.
    pub fn new(in_process: InProcess, egress: egress::Client, options: Options) -> Self {
        let client_token_lifetime = Duration::from_secs(options.client_token_lifetime_s.get());
        Self { in_process, client: Arc::new(RestClient::new(egress, options)), client_token_lifetime }
    }

    fn endpoints(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Endpoints, BindingError> {
        if spec.text("hubName").is_none() {
            return Err(BindingError::Declaration(format!(
                "the binding {:?} has no hubName; set it to the name of a hub",
                spec.name
            )));
        }
        let configured = endpoints(setting_of(spec), app)?;
        let all = configured.into_iter().map(|one| self.endpoint(one)).collect::<Result<_, _>>()?;
        Ok(Endpoints::new(all))
    }

    fn endpoint(&self, configured: ConfiguredEndpoint) -> Result<Endpoint, BindingError> {
        let ConfiguredEndpoint { name, kind, connection, setting } = configured;
        let url = connection.server_url();
        let service = match (self.in_process)(&connection) {
            Some(service) => service,
            None => {
                let key = connection.access_key();
                let key = key.map_err(|error| connection::invalid(&setting, &error.to_string()))?.clone();
                Arc::new(RemoteService::new(connection, key, Arc::clone(&self.client)))
            }
        };
        Ok(Endpoint { name, kind, url, service })
    }
}

#[async_trait::async_trait]
impl Connector for SignalR {
    fn kinds(&self) -> &'static [(&'static str, Direction)] {
        &[
            (TRIGGER, Direction::In),
            (CONNECTION_INFO, Direction::In),
            (NEGOTIATION, Direction::In),
            (ENDPOINT_LIST, Direction::In),
            ("signalR", Direction::Out),
        ]
    }

    fn connections(&self, spec: &BindingSpec) -> Vec<ConnectionSetting> {
        let (name, example) = (setting_of(spec).to_owned(), connection::example());
        vec![ConnectionSetting { name, example, alternative: Some(ENDPOINTS) }]
    }

    fn push_extension(&self, kind: &str) -> Option<Arc<dyn PushExtension>> {
        kind.eq_ignore_ascii_case(TRIGGER).then(|| Arc::new(Routing) as Arc<dyn PushExtension>)
    }

    async fn push_trigger(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn PushTrigger>, BindingError> {
        let declaration = Declaration::parse(spec)?;
        let endpoints = endpoints(setting_of(spec), app)?;
        let connections = || endpoints.iter().map(|endpoint| &endpoint.connection);
        let mut services: Vec<String> =
            connections().filter_map(|one| (self.in_process)(one)).map(|service| service.name()).collect();
        services.sort_unstable();
        services.dedup();
        let keys = connections().filter_map(|connection| connection.access_key().ok().cloned()).collect();
        Ok(Arc::new(SignalRTrigger { declaration, keys, services }))
    }

    async fn reader(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn Reader>, BindingError> {
        let (endpoints, token_lifetime) = (self.endpoints(spec, app)?, self.client_token_lifetime);
        let is = |kind: &str| spec.kind.eq_ignore_ascii_case(kind);
        Ok(match () {
            () if is(NEGOTIATION) => Arc::new(Negotiation { endpoints, token_lifetime }),
            () if is(ENDPOINT_LIST) => Arc::new(EndpointList { endpoints }),
            () => Arc::new(ConnectionInfo { endpoints, token_lifetime }),
        })
    }

    async fn sink(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Arc<dyn Sink>, BindingError> {
        Ok(Arc::new(MessageSink { endpoints: self.endpoints(spec, app)? }))
    }
}

impl fmt::Debug for SignalR {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalR").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
