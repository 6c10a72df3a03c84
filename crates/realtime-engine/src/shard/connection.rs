//! [`Connection`]: the state of one connection. It is small, because there may be a hundred thousand idle ones.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use signalr_protocol::{HubProtocol, Splitter};
use tokio::sync::oneshot;
use websocket::Decoder;

use super::deadlines::Tick;
use super::keys::{GroupKey, HubKey, UserKey};
use super::pending::{Backlog, FrameList};
use super::stateful::Stateful;
use crate::limits::{Bucket, SharedBucket};
use crate::{
    AppServer, ClientAdmission, ClientContext, ClientInvokeError, ClientResult, ConnectionGuard,
    ConnectionId, HttpTransport, HttpTransportKind, ReceiveResult, Roles, SendRate,
};

/// One connection. State that most connections do not need is boxed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) transport: TransportState,
    pub(crate) decoder: Decoder,
    /// The frames to write at the end of the turn.
    pub(crate) frame_list: Option<Rc<FrameList>>,
    /// What the socket has not accepted; while there is a backlog, there is no `frame_list`.
    pub(crate) backlog: Option<Box<Backlog>>,
    pub(crate) state: ConnectionState,
    pub(crate) uncommon: Option<Box<UncommonState>>,
    pub(crate) id: ConnectionId,
    /// Distinguishes this connection from earlier ones with the same slot.
    pub(crate) generation: u32,
    /// When a hub message was last written. A pong does not count, because a SignalR client waits for hub messages.
    pub(crate) last_sent_at: Tick,
    /// When something was last received, or, while closing, when the close started.
    pub(crate) last_received_at: Tick,
    pub(crate) protocol: HubProtocol,
    /// Whether it is on the shard's list of connections to write to.
    pub(crate) dirty: bool,
    /// Whether it has ever sent a ping, so that the client timeout applies.
    pub(crate) has_pinged: bool,
    /// Whether stateful reconnect is in use; not boxed, because every publish reads it.
    pub(crate) is_stateful: bool,
    /// Whether reading from its client is paused; not boxed, because nearly every client waits for its handshake response.
    pub(crate) is_paused: bool,
    /// How fast its app server may send to it.
    pub(crate) send_rate: SendRate,
}

/// The current transport of a connection.
#[derive(Debug)]
pub(crate) enum TransportState {
    Socket(edge::Socket),
    Http(Arc<HttpTransport>),
    /// The socket is lost; the client may reconnect statefully until then.
    Detached {
        until: Tick,
    },
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) enum ConnectionState {
    /// The handshake request is not complete.
    Handshaking(Box<Handshaking>),
    /// The handshake request was read; the response is pending.
    Opening(Box<Opening>),
    /// It receives published messages.
    Open(IndexEntry),
    /// A close was sent; what is received is ignored.
    Closing {
        /// Our side of the socket is shut down.
        shut: bool,
    },
}

/// The state until the handshake request is complete.
#[derive(Debug)]
pub(crate) struct Handshaking {
    pub(crate) admission: ClientAdmission,
    pub(crate) deadline: Tick,
    /// The start of the record, if it arrived in parts.
    pub(crate) record: Vec<u8>,
}

/// The state until the handshake response is sent.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) admission: ClientAdmission,
    pub(crate) deadline: Tick,
    /// Hub messages that followed the handshake request.
    pub(crate) rest: Vec<u8>,
}

/// The positions of a connection in the shard's index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexEntry {
    pub(crate) hub: HubKey,
    pub(crate) hub_position: u32,
    pub(crate) user: Option<(UserKey, u32)>,
}

/// State that few connections need.
#[derive(Debug, Default)]
pub(crate) struct UncommonState {
    /// Its groups, and its position among their members.
    pub(crate) groups: Vec<(GroupKey, u32)>,
    /// The start of a hub message that arrived in parts.
    pub(crate) partial: Option<Box<Splitter>>,
    pub(crate) client_context: Option<Arc<ClientContext>>,
    pub(crate) rare: Option<Box<RareState>>,
}

/// State that very few connections need.
#[derive(Debug, Default)]
pub(crate) struct RareState {
    /// When its token expires.
    pub(crate) expires: Option<Tick>,
    /// When the last hub message was received; only set if the hub has an idle timeout.
    pub(crate) last_message_at: Tick,
    pub(crate) roles: Option<Roles>,
    pub(crate) stateful: Option<Box<Stateful>>,
    pub(crate) server: Option<Arc<dyn AppServer>>,
    /// Its app server closed it, and is not notified of its end.
    pub(crate) is_end_known: bool,
    pub(crate) bucket: Option<Box<Bucket>>,
    pub(crate) user_bucket: Option<SharedBucket>,
    /// Invocations of its methods whose callers wait for a result.
    pub(crate) pending_results: HashMap<Box<str>, oneshot::Sender<Result<ClientResult, ClientInvokeError>>>,
    /// Open streams that its client has invoked, by their invocation ids.
    pub(crate) open_streams: HashSet<Box<str>>,
    /// Requests of its client that arrived while it is paused.
    pub(crate) queued_posts: VecDeque<PostedBytes>,
    pub(crate) guard: Option<ConnectionGuard>,
}

/// Bytes that a client sent in an HTTP request.
#[derive(Debug)]
pub(crate) struct PostedBytes {
    pub(crate) payload: Bytes,
    /// Whether the request ends with them.
    pub(crate) is_end: bool,
    pub(crate) done: oneshot::Sender<ReceiveResult>,
}

impl Connection {
    pub(crate) fn index_entry(&self) -> Option<IndexEntry> {
        match self.state {
            ConnectionState::Open(index_entry) => Some(index_entry),
            ConnectionState::Handshaking(_)
            | ConnectionState::Opening(_)
            | ConnectionState::Closing { .. } => None,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, ConnectionState::Closing { .. })
    }

    pub(crate) fn groups(&self) -> &[(GroupKey, u32)] {
        self.uncommon.as_ref().map_or(&[], |uncommon| &uncommon.groups)
    }

    pub(crate) fn rare(&self) -> Option<&RareState> {
        self.uncommon.as_ref()?.rare.as_deref()
    }

    pub(crate) fn rare_mut(&mut self) -> Option<&mut RareState> {
        self.uncommon.as_mut()?.rare.as_deref_mut()
    }

    /// [`RareState`], created if it is missing.
    pub(crate) fn rare_or_new(&mut self) -> &mut RareState {
        self.uncommon.get_or_insert_default().rare.get_or_insert_default()
    }

    pub(crate) fn server(&self) -> Option<&Arc<dyn AppServer>> {
        self.rare()?.server.as_ref()
    }

    pub(crate) fn stateful_mut(&mut self) -> Option<&mut Stateful> {
        self.rare_mut()?.stateful.as_deref_mut()
    }

    pub(crate) fn expires(&self) -> Option<Tick> {
        self.rare()?.expires
    }

    /// Whether the transport itself shows that the client is alive, so that no pings are needed.
    pub(crate) fn is_kept_alive_by_transport(&self) -> bool {
        matches!(&self.transport, TransportState::Http(http) if http.kind() == HttpTransportKind::LongPolling)
    }

    /// Whether only text can be sent.
    pub(crate) fn is_text_only(&self) -> bool {
        matches!(&self.transport, TransportState::Http(http) if http.kind() == HttpTransportKind::ServerSentEvents)
    }

    pub(crate) fn transport_name(&self) -> &'static str {
        match &self.transport {
            TransportState::Socket(_) | TransportState::Detached { .. } => "WebSockets",
            TransportState::Http(http) => match http.kind() {
                HttpTransportKind::ServerSentEvents => "ServerSentEvents",
                HttpTransportKind::LongPolling => "LongPolling",
            },
        }
    }
}
