//! What the bindings need of a SignalR service.

use std::sync::Arc;
use std::time::Duration;

use functions_contract::BindingError;
use http::Uri;
use identity::{Claims, SignalRConnectionString};
use trace::TraceContext;

use crate::error_table;

use crate::output::{SignalRGroupAction, SignalRMessage};

/// Finds the service in this process that a connection string names; `None` if the string names another host.
pub type InProcess = Arc<dyn Fn(&SignalRConnectionString) -> Option<Arc<dyn SignalRService>> + Send + Sync>;

/// The address and token with which a client connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiationInfo {
    /// The client endpoint, with the hub in its query.
    pub url: String,
    /// The client's access token.
    pub access_token: String,
}

/// A SignalR service, as the bindings use it.
#[async_trait::async_trait]
pub trait SignalRService: Send + Sync {
    /// The name of the service among those of this process, by which it marks the events that it pushes itself
    /// ([`InProcessCaller`](crate::InProcessCaller)).
    fn name(&self) -> String;

    /// The address and token for a client of `hub`. The token is valid for `lifetime`. `origin` is the origin of the
    /// request that caused the invocation, if there was one; a service in this process hands out an address that is
    /// reachable from there.
    ///
    /// # Errors
    ///
    /// [`BindingError::Value`] if the hub's name is not valid.
    fn client_access(
        &self,
        hub: &str,
        user: Option<&str>,
        claims: &Claims,
        lifetime: Duration,
        origin: Option<&Uri>,
    ) -> Result<NegotiationInfo, BindingError>;

    /// Sends a message to clients of `hub`; returns when the service has accepted it. A recipient that does not exist is
    /// not an error.
    async fn send(
        &self,
        hub: &str,
        message: &SignalRMessage,
        trace: TraceContext,
    ) -> Result<(), BindingError>;

    /// Adds a connection or a user to a group, or removes it; returns when the service has done so. A member that does not
    /// exist is not an error.
    async fn change_group(
        &self,
        hub: &str,
        change: &SignalRGroupAction,
        trace: TraceContext,
    ) -> Result<(), BindingError>;
}

/// The error of a binding whose realtime service, which runs in this process, cannot carry out an operation now.
pub fn in_process_failure(cause: Box<dyn std::error::Error + Send + Sync>) -> BindingError {
    BindingError::System {
        error: &error_table::IN_PROCESS,
        what: "send to the realtime service of this process".to_owned(),
        retryable: true,
        cause: Some(cause),
    }
}
