//! [`AppServerClient`]: the state of a client that an app server handles. `client/delivery.rs` has the messages that it receives, `client/migration.rs` how
//! it changes its app server.

pub(super) mod delivery;
mod migration;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use signalr_protocol::HubProtocol;
use signalr_protocol::service::FlowOperation;
use tokio::sync::oneshot;

use super::connection_table::StickyServer;
use super::early_results::EarlyResults;
use super::forwarded_headers::ForwardedHeaders;
use super::forwarding::Forwarding;
use super::invocations::PendingInvocation;
use super::request::ServerRequest;
use super::server_connection::ServerConnection;
use super::to_protocol;
use realtime_engine::{ClientConnection, ConnectionId, Hub, SendRate};

/// Requests about a client that may wait for the response to its handshake.
const DEFERRED_MAX: usize = 64;

/// A client of an app server.
#[derive(Debug)]
pub(crate) struct AppServerClient {
    pub(super) hub: Hub,
    /// The app server that its token names.
    pub(super) sticky: Option<StickyServer>,
    /// The headers of its connect request for its app server.
    pub(super) headers: ForwardedHeaders,
    /// Its app server accepts messages in parts. Outside of the state, because every read needs it.
    accepts_parts: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Set when its handshake has been read.
    pub(super) connection: Option<ClientConnection>,
    /// The server connection that carries it.
    pub(super) owner: Option<Arc<ServerConnection>>,
    /// Its handshake was forwarded.
    pub(super) handshake_forwarded: bool,
    /// Its app server has completed the handshake.
    pub(super) handshake_answered: bool,
    /// The response was given to the engine, so that the client is connected.
    pub(super) is_connected: bool,
    /// Its app server has sent it a Close message.
    pub(super) close_sent: bool,
    /// The beginning of an incomplete message from its app server.
    pub(super) partial: Vec<u8>,
    /// Forwards its messages to its app server.
    pub(super) forwarding: Forwarding,
    /// Notified when its app server has completed all its invocations, while new ones are held back.
    pub(super) drained: Option<oneshot::Sender<()>>,
    /// Requests about it that wait until it is connected.
    pub(super) deferred: Vec<(Arc<ServerConnection>, ServerRequest)>,
    /// Notified when its app server has paused its messages to the client.
    pub(super) pause_acknowledged: Option<oneshot::Sender<()>>,
    /// Its results that are delayed before its app server receives them.
    pub(super) results: EarlyResults,
    /// How fast its app server may send to it.
    pub(super) pace: SendRate,
    /// Pauses that its app server has not acknowledged.
    pub(super) pauses: u32,
}

/// Whether a request about a client can be executed.
#[derive(Debug)]
pub(crate) enum DeferResult {
    Now(ServerRequest),
    /// It is executed when the handshake is complete.
    Later,
    /// Too many requests wait already.
    TooMany(ServerRequest),
}

/// What remains of a client that has disconnected.
#[derive(Debug, Default)]
pub(crate) struct ClosedClient {
    pub(crate) owner: Option<Arc<ServerConnection>>,
    pub(crate) deferred: Vec<(Arc<ServerConnection>, ServerRequest)>,
}

impl AppServerClient {
    pub(super) fn new(hub: Hub, sticky: Option<StickyServer>, headers: ForwardedHeaders) -> Arc<Self> {
        let (accepts_parts, state) = (AtomicBool::new(false), Mutex::new(State::default()));
        Arc::new(Self { hub, sticky, headers, accepts_parts, state })
    }

    /// Whether its app server accepts messages in parts.
    pub(super) fn accepts_parts(&self) -> bool {
        self.accepts_parts.load(Ordering::Acquire)
    }

    pub(super) fn set_accepts_parts(&self, accepts_parts: bool) {
        self.accepts_parts.store(accepts_parts, Ordering::Release);
    }

    /// Whether it must stay with its app server, because its state, such as a Blazor circuit, exists only there.
    pub(super) fn requires_its_server(&self) -> bool {
        self.sticky.as_ref().is_some_and(|sticky| sticky.required)
    }

    /// The server connection that carries it.
    pub(super) fn owner(&self) -> Option<Arc<ServerConnection>> {
        self.state().owner.clone()
    }

    /// Its hub protocol; `None` before its handshake and after its end.
    pub(super) fn protocol(&self) -> Option<HubProtocol> {
        self.state().connection.as_ref().map(|connection| connection.protocol)
    }

    /// Whether its app server has sent it a Close message.
    pub(super) fn close_sent(&self) -> bool {
        self.state().close_sent
    }

    /// Defers a request until the handshake is complete: on another connection, a request may overtake the response.
    pub(super) fn defer(&self, server: &Arc<ServerConnection>, request: ServerRequest) -> DeferResult {
        let mut state = self.state();
        if state.is_connected || state.connection.is_none() {
            return DeferResult::Now(request);
        }
        if state.deferred.len() >= DEFERRED_MAX {
            return DeferResult::TooMany(request);
        }
        state.deferred.push((Arc::clone(server), request));
        DeferResult::Later
    }

    /// The client is connected now. Returns the requests that waited for that.
    pub(super) fn set_connected(&self) -> Vec<(Arc<ServerConnection>, ServerRequest)> {
        let mut state = self.state();
        state.is_connected = true;
        std::mem::take(&mut state.deferred)
    }

    /// An invocation that the service has completed itself.
    pub(super) fn invocation_completed(&self, invocation: &str) {
        let mut state = self.state();
        state.forwarding.invocation_completed(invocation);
        state.notify_if_drained();
    }

    /// Its app server has invoked one of its methods.
    pub(super) fn expect_result(&self, pending: &PendingInvocation, now: Instant) {
        self.state().results.expect(Arc::clone(&pending.invocation), pending.not_before, now);
    }

    /// The client has disconnected.
    pub(super) fn end(&self) -> ClosedClient {
        let mut state = self.state();
        state.connection = None;
        state.pause_acknowledged = None;
        state.drained = None;
        state.forwarding = Forwarding::default();
        ClosedClient { owner: state.owner.take(), deferred: std::mem::take(&mut state.deferred) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn belongs_to(&self, server: &ServerConnection) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.id == server.id)
    }

    /// Pauses or resumes the messages of an app server to the client.
    pub(super) fn flow_control(
        &mut self,
        id: ConnectionId,
        server: &ServerConnection,
        operation: FlowOperation,
    ) {
        if operation == FlowOperation::Pause {
            self.pauses += 1;
        }
        server.send_queue.push_for(id, |out| to_protocol::flow(id, operation, out));
    }

    pub(super) fn notify_if_drained(&mut self) {
        if self.drained.is_some() && self.handshake_answered && self.forwarding.is_drained() {
            let sender = self.drained.take().expect("it was just checked");
            // The receiver may have stopped waiting.
            let _ = sender.send(());
        }
    }
}
