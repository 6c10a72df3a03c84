//! [`SignalR`]: creates the bindings of this crate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use functions_contract::{
    AppSettings, BindingError, BindingSpec, ConnectionSetting, Connector, Direction, PushExtension,
    PushTrigger, Reader, Sink,
};

use crate::binding::{ConnectionInfo, MessageSink};
use crate::connection::{self, setting_of};
use crate::options::Options;
use crate::remote::{RemoteService, RestClient};
use crate::service::{InProcess, SignalRService};
use crate::trigger::{Declaration, Routing, SignalRTrigger};

const TRIGGER: &str = "signalRTrigger";

/// The connector for `signalRTrigger`, `signalRConnectionInfo` and `signalR`.
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

    fn service(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn SignalRService>, BindingError> {
        if spec.text("hubName").is_none() {
            return Err(BindingError::Declaration(format!(
                "the binding {:?} has no hubName; set it to the name of a hub",
                spec.name
            )));
        }
        let setting = setting_of(spec);
        let connection = connection::parse(setting, app)?;
        if let Some(service) = (self.in_process)(&connection) {
            return Ok(service);
        }
        let key =
            connection.access_key().map_err(|error| connection::invalid(setting, &error.to_string()))?;
        let key = key.clone();
        Ok(Arc::new(RemoteService::new(connection, key, Arc::clone(&self.client))))
    }
}

#[async_trait::async_trait]
impl Connector for SignalR {
    fn kinds(&self) -> &'static [(&'static str, Direction)] {
        &[(TRIGGER, Direction::In), ("signalRConnectionInfo", Direction::In), ("signalR", Direction::Out)]
    }

    fn connections(&self, spec: &BindingSpec) -> Vec<ConnectionSetting> {
        vec![ConnectionSetting { name: setting_of(spec).to_owned(), example: connection::example() }]
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
        let connection = connection::parse(setting_of(spec), app)?;
        let service = (self.in_process)(&connection).map(|service| service.name());
        let key = connection.access_key().ok().cloned();
        Ok(Arc::new(SignalRTrigger { declaration, key, service }))
    }

    async fn reader(
        &self,
        spec: &BindingSpec,
        app: &dyn AppSettings,
    ) -> Result<Arc<dyn Reader>, BindingError> {
        Ok(Arc::new(ConnectionInfo {
            service: self.service(spec, app)?,
            token_lifetime: self.client_token_lifetime,
        }))
    }

    async fn sink(&self, spec: &BindingSpec, app: &dyn AppSettings) -> Result<Arc<dyn Sink>, BindingError> {
        Ok(Arc::new(MessageSink { service: self.service(spec, app)? }))
    }
}

impl fmt::Debug for SignalR {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalR").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
