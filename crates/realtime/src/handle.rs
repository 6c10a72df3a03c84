//! [`Handle`]: the realtime service for callers in this process, without HTTP and without tokens.

mod keys;
mod memberships;
mod reload;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::trace::TraceContext;
use identity::Claims;

use crate::client_access::{self, ClientAccess, ClientAccessError};
use crate::events::{DeadLetterPage, DeadLettersError};
use crate::from_protocol::{InvalidInvocation, invocation};
use crate::names::{self, InvalidHub};
use crate::service::{Shared, TraceError, trace};
use crate::upstream::InProcessUpstream;
use http_messages::Body;
use realtime_engine::{
    ConnectionId, EngineHandle, Hub, InvalidArguments, Publish, PublishError, Target, TraceFilter,
};

/// The service for callers in this process: sends messages and issues client tokens. Cheap to clone. Groups, presence and closing
/// connections are on [`Handle::engine`], with hubs from [`Handle::hub`].
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// A message to clients: which hub, which connections, which method.
#[derive(Clone, Debug)]
pub struct SendMessage<'a> {
    /// The hub, in any case; with an application prefix, `app_hub`.
    pub hub: &'a str,
    /// The receivers.
    pub to: Target,
    /// Connections in `to` that do not receive it.
    pub excluded: Vec<ConnectionId>,
    /// The client's method to call.
    pub target: &'a str,
    /// Its arguments: the text of a JSON array.
    pub arguments: &'a str,
    /// The trace that the send is part of.
    pub trace: Option<TraceContext>,
}

/// Why a message from this process was not sent. No client received it.
#[derive(Debug, thiserror::Error)]
pub enum SendMessageError {
    /// The hub name is invalid.
    #[error(transparent)]
    Hub(#[from] InvalidHub),
    /// The message names no method.
    #[error("the message has no target; name the client method to call")]
    NoTarget,
    /// The arguments are not a JSON array.
    #[error(transparent)]
    Arguments(#[from] InvalidArguments),
    /// The engine did not accept the message.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl From<InvalidInvocation> for SendMessageError {
    fn from(error: InvalidInvocation) -> Self {
        match error {
            InvalidInvocation::NoTarget => Self::NoTarget,
            InvalidInvocation::Arguments(error) => Self::Arguments(error),
        }
    }
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sends a message; waits while the command queues of shards are full. Messages that one caller sends one after the other
    /// reach each receiver in that order.
    ///
    /// # Errors
    ///
    /// If the message is invalid, or the engine does not accept it.
    pub async fn send(&self, message: SendMessage<'_>) -> Result<(), SendMessageError> {
        let SendMessage { hub, to, excluded, target, arguments, trace } = message;
        let hub = self.hub(hub)?;
        let message = invocation(target, arguments)?;
        let publish = Publish { hub, target: to, excluded, excluded_users: Vec::new(), message, trace };
        Ok(self.shared.engine.publish(publish).await?)
    }

    /// The hub of that name in this service's instance, checked and in lower case.
    ///
    /// # Errors
    ///
    /// If the name is invalid.
    pub fn hub(&self, name: &str) -> Result<Hub, InvalidHub> {
        names::hub(name, &self.shared.instance)
    }

    /// Connection events that could not be delivered, oldest first: at most `letters_max`, starting at `after`, the
    /// [`DeadLetterPage::next`] of the previous page.
    ///
    /// # Errors
    ///
    /// If `after` is not such a cursor, or the journal fails.
    pub async fn dead_letters(
        &self,
        after: Option<&str>,
        letters_max: usize,
    ) -> Result<DeadLetterPage, DeadLettersError> {
        self.shared.dispatcher.dead_letters().page(after, letters_max, SystemTime::now()).await
    }

    /// Adds an upstream of this process. It gets the events that no template of the configuration matches, until the service ends.
    pub fn add_in_process_upstream(&self, upstream: Arc<dyn InProcessUpstream>) {
        self.shared.dispatcher.add_in_process(upstream);
    }

    /// The engine: groups, users, presence, closing connections, counts.
    pub fn engine(&self) -> &EngineHandle {
        &self.shared.engine
    }

    /// The live trace: the events that match `filter`, from now on, as a response body with one JSON object a line. A reader that
    /// is too slow gets the number of events that it missed.
    ///
    /// # Errors
    ///
    /// If there are too many watchers, or the service is shutting down.
    pub async fn trace(&self, filter: TraceFilter) -> Result<Body, TraceError> {
        trace(&self.shared, filter).await
    }

    /// Gives one client access to a hub for `lifetime`: a URL below `base_url` (the scheme and host under which clients reach this
    /// service, without a slash at the end) and a token for it. User claims with the name of a claim that the token itself needs,
    /// such as `aud`, are renamed as the SDKs do.
    ///
    /// # Errors
    ///
    /// If the hub name is invalid, or the token would be too long.
    pub fn client_access(
        &self,
        hub: &str,
        user_id: Option<&str>,
        claims: &Claims,
        lifetime: Duration,
        base_url: &str,
    ) -> Result<ClientAccess, ClientAccessError> {
        let hub = self.hub(hub)?;
        client_access::issue(&self.shared.keys.current().primary, &hub, user_id, claims, lifetime, base_url)
    }
}
