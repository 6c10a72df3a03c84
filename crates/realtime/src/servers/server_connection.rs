//! [`ServerConnection`]: the state of one server connection, which its tasks and its clients share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use websocket::CloseCode;

use super::connection_table::ServerConnectionId;
use super::handshake::Handshake;
use super::options::Options;
use super::send_queue::SendQueue;
use realtime_engine::{ConnectionId, Hub};

/// Shortest interval between two hints to an app server: that it sends too fast, or should open another connection.
const HINT_INTERVAL: Duration = Duration::from_secs(5);

/// Invocations on one server connection whose results are delayed longer, because the app server's code is not compiled yet.
const FIRST_INVOCATIONS: u32 = 32;

/// A server connection.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    pub(super) id: ServerConnectionId,
    pub(super) hub: Hub,
    /// The id of the app server.
    pub(super) server_id: Arc<str>,
    /// The name that the app server gave the connection.
    pub(super) name: Box<str>,
    /// The app server's SDK is recent: it ignores unknown messages and extensions.
    pub(super) is_recent_sdk: bool,
    /// Its clients migrate to another app server when the connection is lost.
    pub(super) migrates_on_loss: bool,
    pub(super) send_queue: SendQueue,
    /// Clients that read slowly: the app server may send them one message at a time.
    slow_clients: Mutex<HashSet<ConnectionId>>,
    /// Client invocations that were requested on this connection, up to [`FIRST_INVOCATIONS`].
    invocations: AtomicU32,
    close_reason: Mutex<CloseReason>,
    last_hint: Mutex<Option<Instant>>,
}

/// Code and reason of the close frame.
#[derive(Debug)]
struct CloseReason {
    code: CloseCode,
    reason: String,
}

/// An app server whose connection is not open yet.
#[derive(Debug)]
pub(crate) struct ConnectingServer {
    pub(crate) hub: Hub,
    pub(crate) server_id: Arc<str>,
    pub(crate) name: Box<str>,
}

impl ServerConnection {
    pub(super) fn new(
        id: ServerConnectionId,
        connecting: ConnectingServer,
        hello: &Handshake,
        pending_bytes_max: usize,
    ) -> Self {
        let ConnectingServer { hub, server_id, name } = connecting;
        Self {
            id,
            hub,
            server_id,
            name,
            is_recent_sdk: hello.is_recent_sdk,
            migrates_on_loss: hello.migrates_on_loss,
            send_queue: SendQueue::new(pending_bytes_max),
            slow_clients: Mutex::default(),
            invocations: AtomicU32::new(0),
            close_reason: Mutex::new(CloseReason { code: CloseCode::NORMAL, reason: String::new() }),
            last_hint: Mutex::new(None),
        }
    }

    /// Closes the connection once the queue is written.
    pub(super) fn end(&self, code: CloseCode, reason: &str) {
        let close_reason = CloseReason { code, reason: reason.to_owned() };
        *self.close_reason.lock().unwrap_or_else(PoisonError::into_inner) = close_reason;
        self.send_queue.close();
    }

    /// Marks a client as slow, or not slow any more.
    pub(super) fn set_slow(&self, client: ConnectionId, is_slow: bool) {
        let mut slow_clients = self.slow_clients.lock().unwrap_or_else(PoisonError::into_inner);
        if is_slow {
            slow_clients.insert(client);
        } else {
            slow_clients.remove(&client);
        }
    }

    /// The earliest time at which the app server may get the result of a client invocation that it requests now.
    pub(super) fn result_not_before(&self, options: &Options, now: Instant) -> Instant {
        let is_first = self.invocations.load(Ordering::Relaxed) < FIRST_INVOCATIONS;
        if is_first {
            self.invocations.fetch_add(1, Ordering::Relaxed);
        }
        now + options.result_delay(is_first)
    }

    pub(super) fn slow_clients(&self) -> Vec<ConnectionId> {
        self.slow_clients.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    pub(super) fn has_slow_clients(&self) -> bool {
        !self.slow_clients.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether a hint may be sent now; see [`HINT_INTERVAL`].
    pub(super) fn may_send_hint(&self, now: Instant) -> bool {
        let mut last_hint = self.last_hint.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last_hint.is_none_or(|last| now.duration_since(last) >= HINT_INTERVAL);
        if may {
            *last_hint = Some(now);
        }
        may
    }

    /// Code and reason of the close frame.
    pub(super) fn close_reason(&self) -> (CloseCode, String) {
        let close_reason = self.close_reason.lock().unwrap_or_else(PoisonError::into_inner);
        (close_reason.code, close_reason.reason.clone())
    }
}
