//! [`Dispatcher`]: the engine's upstream. Takes over what the shards' threads say, and owns the task that carries it out.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use signalr_protocol::count_sequenced;
use state::RegistryError;
use supervision::Supervisor;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::inbox::{Inbox, Input};
use super::lanes::Limits;
use super::methods::{self, Methods};
use super::metrics::{CauseLabels, Metrics};
use super::options::Options;
use super::owner::Owner;
use super::send::Sender;
use super::template::Category;
use super::webhook::Webhook;
use crate::events::{self, ConnectionListener, DeadLetters, EventKind, Records};
use realtime_engine::{
    Capacity, ClientConnection, ClientInvocation, ConnectionId, EndReason, EngineHandle, HandshakeDecision,
    Hub, InvocationRejection, NoUpstream, OutgoingMessage, Publish, StreamOf, StreamState, Target, Upstream,
};

/// Longest name of a method that goes to an upstream, in bytes: it stands in a header and often in the address.
const METHOD_BYTES_MAX: usize = 1024;

/// Hands calls to upstreams and to methods of this process, and connection events to listeners. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatcher(Arc<Shared>);

/// The task behind a dispatcher.
#[derive(Debug)]
pub(crate) struct Running {
    dispatcher: Dispatcher,
    stop: oneshot::Sender<()>,
    owner: JoinHandle<()>,
}

/// What the dispatcher, its owner and its jobs share.
pub(crate) struct Shared {
    pub(crate) inbox: Inbox,
    pub(crate) sender: Arc<Sender>,
    pub(crate) listeners: Vec<Arc<dyn ConnectionListener>>,
    pub(crate) methods: OnceLock<Arc<dyn Methods>>,
    pub(crate) records: Records,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) options: Options,
    pub(crate) event_options: events::Options,
    pub(crate) metrics: Metrics,
}

/// What a dispatcher is made of.
pub(crate) struct Parts {
    pub(crate) sender: Sender,
    /// Who hears of connections, beside the upstreams.
    pub(crate) listeners: Vec<Arc<dyn ConnectionListener>>,
    pub(crate) records: Records,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) options: Options,
    pub(crate) event_options: events::Options,
    pub(crate) metrics: Metrics,
}

/// The clients, as far as they concern the dispatcher: the engine, or a test's list.
#[async_trait::async_trait]
pub(crate) trait Clients: Send + Sync + 'static {
    /// Sends framed hub messages to one client; a client that is gone gets nothing.
    async fn reply(&self, client: &ClientConnection, framed: Bytes);

    /// Sends framed messages of a stream that a client asked for, of which the last one may end it. Waits while the client takes less
    /// than it is sent, but no longer than `patience`. Says whether the stream can go on.
    async fn send_in_stream(
        &self,
        client: &ClientConnection,
        stream: &str,
        framed: Vec<Bytes>,
        is_end: bool,
        patience: Duration,
    ) -> bool;

    /// Reads a client again whose calls were too many.
    async fn resume(&self, connection: ConnectionId);

    /// Lets a client in that waits for the answer to its handshake, or refuses it with a text.
    async fn opened(&self, connection: ConnectionId, result: Result<(), String>);
}

impl Dispatcher {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { sender, mut listeners, records, dead_letters, options, event_options, metrics } = parts;
        let sender = Arc::new(sender);
        // The first one, so that its events and the calls share a lane.
        listeners.insert(0, Arc::new(Webhook(Arc::clone(&sender))));
        let inbox = Inbox::new(&options, metrics.clone());
        let methods = OnceLock::new();
        Self(Arc::new(Shared {
            inbox,
            sender,
            listeners,
            methods,
            records,
            dead_letters,
            options,
            event_options,
            metrics,
        }))
    }

    /// The events that could not be delivered.
    pub(crate) fn dead_letters(&self) -> &DeadLetters {
        &self.0.dead_letters
    }

    /// Begins to carry out what comes, and what earlier processes still owe. `methods` answers what
    /// [`methods::is_own`].
    ///
    /// # Errors
    ///
    /// If the records of earlier processes cannot be read.
    pub(crate) async fn run(
        &self,
        clients: Arc<dyn Clients>,
        methods: Option<Arc<dyn Methods>>,
        supervisor: &Supervisor,
    ) -> Result<Running, RegistryError> {
        if let Some(methods) = methods {
            // It runs once.
            let _ = self.0.methods.set(methods);
        }
        let left_over = self.0.records.left_over(self.0.event_options.parked_max.get()).await?;
        let (stop, stopped) = oneshot::channel();
        let owner = Owner::new(Arc::clone(&self.0), clients, left_over);
        let supervisor = supervisor.clone();
        let owner = tokio::spawn(async move {
            // What it gives is that it ended, of which the supervisor has been told.
            let _ = supervisor.essential("upstreams", |unit| owner.run(stopped, unit)).await;
        });
        Ok(Running { dispatcher: self.clone(), stop, owner })
    }
}

impl Running {
    /// Ends it, after the engine: what runs is awaited, and what would have to be tried again is left; a `disconnected` then
    /// follows after the next start. After `cut_after` what still runs is cut.
    pub(crate) async fn drain(self, cut_after: Duration) {
        let Self { dispatcher, stop, mut owner } = self;
        dispatcher.0.inbox.close();
        drop(stop);
        match tokio::time::timeout(cut_after, &mut owner).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the upstreams' task failed"),
            Err(_late) => {
                tracing::warn!(
                    "upstreams did not answer before the end; what was being told is told after the next start"
                );
                owner.abort();
                // Only its end is waited for.
                let _ = owner.await;
            }
        }
    }
}

#[cfg(test)]
impl Running {
    /// Ends it as a crash does.
    pub(crate) fn abort(&self) {
        self.owner.abort();
    }
}

impl Shared {
    /// Whether somebody wants to hear of a hub's connections.
    pub(crate) fn is_heard(&self, hub: &Hub) -> bool {
        self.wants(hub, EventKind::Connected) || self.wants(hub, EventKind::Disconnected)
    }

    /// Whether anybody may ever hear of connections.
    pub(crate) fn has_listener(&self) -> bool {
        // The first one is the upstream, which hears nothing without templates.
        self.listeners.len() > 1 || !self.sender.rules.is_empty()
    }

    pub(crate) fn wants(&self, hub: &Hub, kind: EventKind) -> bool {
        self.listeners.iter().any(|listener| listener.wants(hub, kind))
    }

    /// What bounds the lanes.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            in_flight_max: self.options.in_flight_max.get(),
            wait_max: Duration::from_millis(self.options.wait_timeout_ms.get()),
            connected_wait_max: Duration::from_millis(self.options.connected_wait_timeout_ms.get()),
        }
    }

    /// Whether this process answers the method itself.
    pub(crate) fn is_local(&self, method: &str) -> bool {
        self.methods.get().is_some() && methods::is_own(method)
    }

    pub(crate) fn refuse(&self, cause: &'static str) {
        self.metrics.refused_calls.get_or_create(&CauseLabels { cause }).inc();
    }

    /// Why a call cannot go to any upstream, if so.
    fn refusal(&self, hub: &Hub, method: &str) -> Option<InvocationRejection> {
        if method.len() > METHOD_BYTES_MAX {
            self.refuse("method_too_long");
            return Some(InvocationRejection(format!(
                "the name of the method has {} bytes, more than the {METHOD_BYTES_MAX} that an upstream can be told",
                method.len()
            )));
        }
        if self.sender.rules.find(hub.name(), Category::Messages, method).is_none() {
            self.refuse("no_template");
            return Some(InvocationRejection(format!(
                "no upstream is configured for method '{method}' of hub {hub}; add a template that matches it to realtime.upstream.templates"
            )));
        }
        None
    }
}

#[async_trait::async_trait]
impl Clients for EngineHandle {
    async fn reply(&self, client: &ClientConnection, framed: Bytes) {
        let messages = count_sequenced(client.protocol, &framed);
        let publish = Publish {
            hub: client.hub.clone(),
            target: Target::Connection(client.id),
            excluded: Vec::new(),
            excluded_users: Vec::new(),
            message: OutgoingMessage::raw(framed, messages),
            trace: None,
        };
        // Where the engine has ended there is no client any more.
        let _ = self.publish(publish).await;
    }

    async fn send_in_stream(
        &self,
        client: &ClientConnection,
        stream: &str,
        framed: Vec<Bytes>,
        is_end: bool,
        patience: Duration,
    ) -> bool {
        let of = StreamOf { hub: &client.hub, connection: client.id, stream };
        let messages = framed.into_iter().map(|framed| OutgoingMessage::raw(framed, 1)).collect();
        let state = Self::send_in_stream(self, of, messages, is_end, None, patience).await;
        matches!(state, Ok(StreamState::Sent { .. })) && !is_end
    }

    async fn resume(&self, connection: ConnectionId) {
        Self::resume(self, connection).await;
    }

    async fn opened(&self, connection: ConnectionId, result: Result<(), String>) {
        Self::complete_handshake(self, connection, result).await;
    }
}

impl Upstream for Dispatcher {
    fn invoke(&self, invocation: ClientInvocation) -> Result<Capacity, InvocationRejection> {
        let shared = &self.0;
        if shared.inbox.is_closed() {
            return Err(InvocationRejection(
                "the service is shutting down; connect again and repeat the call".to_owned(),
            ));
        }
        // What has no method belongs to a stream, whose method the owner knows.
        if let Some(method) = invocation.target.as_deref().filter(|method| !shared.is_local(method)) {
            if shared.sender.rules.is_empty() {
                shared.refuse("no_template");
                return NoUpstream.invoke(invocation);
            }
            if let Some(refusal) = shared.refusal(&invocation.client.hub, method) {
                return Err(refusal);
            }
        }
        let found = shared.inbox.room_for(invocation.client.id, invocation.payload.len());
        let Some((load, room)) = found else {
            shared.refuse("queue_full");
            return Err(InvocationRejection("too many calls wait for upstreams; try again later".to_owned()));
        };
        shared.inbox.push(Input::Call(Box::new(invocation), load));
        Ok(room)
    }

    fn keeps_client_context(&self, hub: &Hub) -> bool {
        self.0.sender.rules.concern(hub.name()) || self.0.is_heard(hub)
    }

    fn connecting(&self, connection: &ClientConnection) -> HandshakeDecision {
        // Who wants to hear the end must be sure to: that is what the record is for.
        if !self.0.wants(&connection.hub, EventKind::Disconnected) {
            return HandshakeDecision::Accept;
        }
        self.0.inbox.push(Input::Opening(connection.clone()));
        HandshakeDecision::Wait
    }

    fn connected(&self, connection: &ClientConnection) {
        if self.0.is_heard(&connection.hub) {
            self.0.inbox.push(Input::Connected(connection.clone()));
        }
    }

    fn disconnected(&self, connection: &ClientConnection, reason: EndReason, error: Option<&str>) {
        // Also where nobody hears of it: what is remembered of its streams goes with it.
        let error = error.map(Into::into);
        self.0.inbox.push(Input::Disconnected { client: connection.clone(), reason, error });
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("sender", &self.0.sender).finish_non_exhaustive()
    }
}
