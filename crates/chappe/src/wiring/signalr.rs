//! The connector for `signalRTrigger`, `signalRConnectionInfo` and `signalR`: the bindings of Azure SignalR Service.
//!
//! It calls the realtime service of this process if the connection string names this process, and otherwise sends requests over the
//! network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connect_signalr::{
    GroupAction, GroupMember, InProcess, InProcessCaller, NegotiationInfo, Recipient, SignalR,
    SignalRGroupAction, SignalRMessage, SignalRService, in_process_failure, trigger_address,
};
use functions_contract::BindingError;
use http::{Request, Response, StatusCode, Uri};
use identity::{Claims, SignalRConnectionString};
use realtime::upstream::InProcessUpstream;
use realtime_engine::{ConnectionId, GroupError, GroupName, Hub, Lifetime, Membership, Target, UserId};
use trace::TraceContext;

use crate::config::{ConnectorSection, SectionOptions, ServiceId};
use http_messages::error_chain;

use super::resolver::LocalServices;
use super::row::{ConnectorRow, Embedded};

pub(super) static ROW: ConnectorRow = ConnectorRow {
    section: ConnectorSection::of::<connect_signalr::Options>("signalr"),
    create: |creating| {
        let (realtime, options) = (creating.embedded.realtime.clone(), creating.options());
        Arc::new(signalr_connector(creating.local_services, realtime, creating.egress.clone(), options))
    },
};

impl SectionOptions for connect_signalr::Options {
    fn validate(&self, section: &str, _: &[String]) -> Result<(), String> {
        self.check().map_err(|error| format!("[{section}]: {error}"))
    }
}

/// The connector, with the resolver that selects the service by the connection string.
fn signalr_connector(
    local_services: Arc<LocalServices>,
    realtime: BTreeMap<ServiceId, realtime::Handle>,
    egress: egress::Client,
    options: connect_signalr::Options,
) -> SignalR {
    let in_process: InProcess = Arc::new(move |connection: &SignalRConnectionString| {
        let id = local_services.named_by(&connection.server_url(), "realtime")?;
        let (realtime, local_services) = (realtime.get(id)?.clone(), Arc::clone(&local_services));
        let service: Arc<dyn SignalRService> = Arc::new(EmbeddedSignalR {
            id: id.clone(),
            realtime,
            local_services,
            client_url: connection.client_url(),
        });
        Some(service)
    });
    SignalR::new(in_process, egress, options)
}

/// Lets the functions of a host handle the events of those realtime services of this process that their connection strings name.
pub(crate) fn connect_triggers(embedded: &Embedded, functions: &functions::Handle) {
    for (id, realtime) in &embedded.realtime {
        let upstream = EmbeddedFunctions { service: id.to_string(), functions: functions.clone() };
        realtime.add_in_process_upstream(Arc::new(upstream));
    }
}

/// The functions of this process with a `signalRTrigger`, as the upstream of one realtime service.
struct EmbeddedFunctions {
    service: String,
    functions: functions::Handle,
}

/// The extension for `signalRTrigger`.
const EXTENSION: &str = "signalr";

#[async_trait::async_trait]
impl InProcessUpstream for EmbeddedFunctions {
    fn concerns(&self, _hub: &str) -> bool {
        self.functions.awaits_push(EXTENSION, None).unwrap_or(true)
    }

    fn wants(&self, hub: &str, category: &str, event: &str) -> bool {
        let address = trigger_address(Some(&self.service), hub, category, event);
        self.functions.awaits_push(EXTENSION, Some(&address)).unwrap_or(true)
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<Option<Response<Bytes>>, String> {
        request.extensions_mut().insert(InProcessCaller(self.service.clone()));
        let response = self.functions.push(EXTENSION, request).await.map_err(|error| error.to_string())?;
        Ok(Some(response).filter(|response| response.status() != StatusCode::NOT_FOUND))
    }
}

/// A realtime service of this process, as one connection string names it.
struct EmbeddedSignalR {
    id: ServiceId,
    realtime: realtime::Handle,
    local_services: Arc<LocalServices>,
    /// The client endpoint in the connection string, for invocations without an HTTP request.
    client_url: String,
}

#[async_trait::async_trait]
impl SignalRService for EmbeddedSignalR {
    fn name(&self) -> String {
        self.id.to_string()
    }

    fn client_access(
        &self,
        hub: &str,
        user: Option<&str>,
        claims: &Claims,
        lifetime: Duration,
        origin: Option<&Uri>,
    ) -> Result<NegotiationInfo, BindingError> {
        let base = self.local_services.client_base(&self.id, origin, &self.client_url);
        let access = self
            .realtime
            .client_access(hub, user, claims, lifetime, &base)
            .map_err(|error| BindingError::Value(error.to_string()))?;
        Ok(NegotiationInfo { url: access.url, access_token: access.access_token })
    }

    async fn send(
        &self,
        hub: &str,
        message: &SignalRMessage,
        trace: TraceContext,
    ) -> Result<(), BindingError> {
        let Some(to) = target_of(&message.recipient) else { return Ok(()) };
        let message = realtime::SendMessage {
            hub,
            to,
            excluded: Vec::new(),
            target: &message.target,
            arguments: message.arguments.get(),
            trace: Some(trace),
        };
        self.realtime.send(message).await.map_err(|error| match error {
            realtime::SendMessageError::Publish(_) => in_process_failure(Box::new(error)),
            error => BindingError::Value(error_chain(&error)),
        })
    }

    async fn change_group(
        &self,
        hub: &str,
        change: &SignalRGroupAction,
        _trace: TraceContext,
    ) -> Result<(), BindingError> {
        let hub = self.realtime.hub(hub).map_err(|error| BindingError::Value(error.to_string()))?;
        match &change.member {
            GroupMember::Connection(id) => match ConnectionId::parse(id) {
                Ok(connection) => self.change_connection(&hub, connection, &change.action).await,
                // An id that this service never assigned belongs to no group.
                Err(_) => Ok(()),
            },
            GroupMember::User(id) => self.change_user(&hub, &UserId::new(id), &change.action).await,
        }
    }
}

impl EmbeddedSignalR {
    async fn change_connection(
        &self,
        hub: &Hub,
        connection: ConnectionId,
        action: &GroupAction,
    ) -> Result<(), BindingError> {
        let engine = self.realtime.engine();
        let (group, membership) = match action {
            GroupAction::Add(group) => (GroupName::new(group), Membership::Join),
            GroupAction::Remove(group) => (GroupName::new(group), Membership::Leave),
            GroupAction::RemoveAll => {
                let left = engine.leave_all_groups(hub, connection).await;
                return left.map(drop).map_err(|error| in_process_failure(Box::new(error)));
            }
        };
        let changed = engine.change_connection(hub, connection, &group, membership).await;
        changed.map(drop).map_err(|error| match error {
            GroupError::Stopped => in_process_failure(Box::new(error)),
            GroupError::TooMany => BindingError::Value(error.to_string()),
        })
    }

    async fn change_user(&self, hub: &Hub, user: &UserId, action: &GroupAction) -> Result<(), BindingError> {
        let changed = match action {
            GroupAction::Add(group) => {
                self.realtime.user_joins_group(hub, user, &GroupName::new(group), Lifetime::Always).await
            }
            GroupAction::Remove(group) => {
                self.realtime.user_leaves_group(hub, user, &GroupName::new(group)).await
            }
            GroupAction::RemoveAll => self.realtime.user_leaves_all_groups(hub, user).await,
        };
        changed.map_err(|error| in_process_failure(Box::new(error)))
    }
}

/// Converts the receivers to the engine's type; `None` for a connection id that this service never assigned: a send to a connection
/// that does not exist is not an error, as in Azure SignalR.
fn target_of(recipient: &Recipient) -> Option<Target> {
    Some(match recipient {
        Recipient::All => Target::All,
        Recipient::Connection(id) => Target::Connection(ConnectionId::parse(id).ok()?),
        Recipient::User(id) => Target::User(UserId::new(id)),
        Recipient::Group(name) => Target::Group(GroupName::new(name)),
    })
}

#[cfg(test)]
mod tests;
