//! [`Connection`]: what a shard knows of one client. Kept small: there may be a hundred thousand that do nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use signalr_protocol::{HubProtocol, Splitter};
use tokio::sync::oneshot;
use websocket::Decoder;

use super::deadlines::Tick;
use super::keys::{GroupKey, HubKey, UserKey};
use super::pending::{Backlog, Run};
use super::stateful::Stateful;
use crate::limits::{Bucket, Shared};
use crate::{
    Admission, AppServer, ClientContext, ClientInvokeError, ClientResult, ConnectionGuard, ConnectionId,
    HttpTransport, HttpTransportKind, ReceiveResult, Roles, SendRate,
};

/// One client. What most connections do not need most of the time is boxed.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) transport: TransportState,
    pub(crate) decoder: Decoder,
    /// What waits for the end of the turn.
    pub(crate) run: Option<Rc<Run>>,
    /// What waits for the socket; while it is there, `run` is not.
    pub(crate) backlog: Option<Box<Backlog>>,
    pub(crate) state: ConnectionState,
    pub(crate) rare: Option<Box<Rare>>,
    pub(crate) id: ConnectionId,
    /// Tells this connection from others that had its slot.
    pub(crate) generation: u32,
    /// When a hub message was last written. A pong does not count: a SignalR client waits for hub messages.
    pub(crate) last_sent_at: Tick,
    /// When something last came, or, once closing, when that began.
    pub(crate) last_received_at: Tick,
    pub(crate) protocol: HubProtocol,
    /// Whether it is on the shard's list of connections to write to.
    pub(crate) dirty: bool,
    /// Whether it has ever sent a ping, so that it is missed when none comes any more.
    pub(crate) has_pinged: bool,
    /// Whether what is sent is numbered and kept; here, because every publish asks.
    pub(crate) is_stateful: bool,
    /// Whether its client is not read from; here, because nearly every client waits for leave to come in.
    pub(crate) is_paused: bool,
    /// How fast its app server may send to it.
    pub(crate) send_rate: SendRate,
}

/// By what the client is reached now.
#[derive(Debug)]
pub(crate) enum TransportState {
    Socket(edge::Socket),
    Http(Arc<HttpTransport>),
    /// Its socket is lost, and a new one may come until then.
    Detached {
        until: Tick,
    },
}

/// How far a connection is in its life.
#[derive(Debug)]
pub(crate) enum ConnectionState {
    /// Admitted; its first record has not come.
    Handshaking(Box<Handshaking>),
    /// Its handshake was read; somebody else decides about the answer.
    Opening(Box<Opening>),
    /// It receives what is published.
    Open(Places),
    /// A close is on its way; what still comes is thrown away.
    Closing {
        /// Our side of the socket is shut.
        shut: bool,
    },
}

/// What is needed until the handshake has come.
#[derive(Debug)]
pub(crate) struct Handshaking {
    pub(crate) admission: Admission,
    pub(crate) deadline: Tick,
    /// The beginning of the record, if it came in pieces.
    pub(crate) record: Vec<u8>,
}

/// What is needed until the handshake is answered.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) admission: Admission,
    pub(crate) deadline: Tick,
    /// Hub messages that came right behind the handshake, while the answer waits.
    pub(crate) rest: Vec<u8>,
}

/// Where a connection stands in the shard's indexes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) hub: HubKey,
    pub(crate) hub_position: u32,
    pub(crate) user: Option<(UserKey, u32)>,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Its groups, and where it stands among their members.
    pub(crate) groups: Vec<(GroupKey, u32)>,
    /// The beginning of a hub message that came in pieces.
    pub(crate) partial: Option<Box<Splitter>>,
    pub(crate) client_context: Option<Arc<ClientContext>>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What hardly any connection has.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// When its token ends.
    pub(crate) expires: Option<Tick>,
    /// When the last hub message came, where that is asked for.
    pub(crate) last_message_at: Tick,
    pub(crate) roles: Option<Roles>,
    pub(crate) stateful: Option<Box<Stateful>>,
    pub(crate) server: Option<Arc<dyn AppServer>>,
    /// Its app server ended it, and need not hear of its end.
    pub(crate) is_end_known: bool,
    pub(crate) bucket: Option<Box<Bucket>>,
    pub(crate) user_bucket: Option<Shared>,
    /// Calls of its methods whose results are awaited.
    pub(crate) pending_results: HashMap<Box<str>, oneshot::Sender<Result<ClientResult, ClientInvokeError>>>,
    /// Streams that its client asked for and that have not ended, by their invocation ids.
    pub(crate) open_streams: HashSet<Box<str>>,
    /// What its client sent over HTTP while it is not read from.
    pub(crate) queued_posts: VecDeque<PostedBytes>,
    pub(crate) guard: Option<ConnectionGuard>,
}

/// Bytes that a client sent in a request.
#[derive(Debug)]
pub(crate) struct PostedBytes {
    pub(crate) payload: Bytes,
    /// Whether the request ends with them.
    pub(crate) is_end: bool,
    pub(crate) done: oneshot::Sender<ReceiveResult>,
}

impl Connection {
    pub(crate) fn places(&self) -> Option<Places> {
        match self.state {
            ConnectionState::Open(places) => Some(places),
            ConnectionState::Handshaking(_)
            | ConnectionState::Opening(_)
            | ConnectionState::Closing { .. } => None,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, ConnectionState::Closing { .. })
    }

    pub(crate) fn groups(&self) -> &[(GroupKey, u32)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.groups)
    }

    pub(crate) fn extra(&self) -> Option<&Extra> {
        self.rare.as_ref()?.extra.as_deref()
    }

    pub(crate) fn extra_mut(&mut self) -> Option<&mut Extra> {
        self.rare.as_mut()?.extra.as_deref_mut()
    }

    /// What hardly any connection has, made where it is missing.
    pub(crate) fn extra_or_new(&mut self) -> &mut Extra {
        self.rare.get_or_insert_default().extra.get_or_insert_default()
    }

    pub(crate) fn server(&self) -> Option<&Arc<dyn AppServer>> {
        self.extra()?.server.as_ref()
    }

    pub(crate) fn stateful_mut(&mut self) -> Option<&mut Stateful> {
        self.extra_mut()?.stateful.as_deref_mut()
    }

    pub(crate) fn expires(&self) -> Option<Tick> {
        self.extra()?.expires
    }

    /// Whether the transport itself shows that the client is there, so that nobody needs to ping.
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
