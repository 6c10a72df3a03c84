//! [`Upstream`]: who hears what clients call, and whose connections come and go.

use bytes::Bytes;

use crate::{Capacity, ClientConnection, EndReason, Hub, Roles};

/// Takes what clients invoke. It is called on a shard's thread: it must hand the work on and return at once, never block.
///
/// An answer goes back through [`EngineHandle`](super::EngineHandle), to the connection that asked. Clients of an app server
/// ([`AppServer`](super::AppServer)) are its own affair; nothing of them comes here.
pub trait Upstream: std::fmt::Debug + Send + Sync + 'static {
    /// A client calls a method of its hub. On refusal the engine answers with the reason if an answer is expected. On
    /// [`Capacity::Exhausted`] the call is taken, but nothing more is read of this client until
    /// [`EngineHandle::resume`](super::EngineHandle::resume); what one read brought along may still follow.
    ///
    /// # Errors
    ///
    /// If the call is not taken.
    fn invoke(&self, invocation: ClientInvocation) -> Result<Capacity, InvocationRejection>;

    /// Whether what clients of a hub bring along ([`ClientContext`]) is to be kept for as long as they are connected.
    fn keeps_client_context(&self, _hub: &Hub) -> bool {
        false
    }

    /// A connection has said what it speaks, and waits for the answer to its handshake.
    fn connecting(&self, _connection: &ClientConnection) -> HandshakeDecision {
        HandshakeDecision::Accept
    }

    /// A connection has done its handshake.
    fn connected(&self, _connection: &ClientConnection) {}

    /// A connection has ended that was [`opening`](Upstream::connecting); called once for each of them.
    fn disconnected(&self, _connection: &ClientConnection, _reason: EndReason, _error: Option<&str>) {}
}

/// Whether a handshake may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeDecision {
    /// At once.
    Accept,
    /// When [`EngineHandle::complete_handshake`](super::EngineHandle::complete_handshake) says so.
    Wait,
}

/// A message by which a client asks for something: an invocation, or the parts and ends of streams and results.
#[derive(Clone, Debug)]
pub struct ClientInvocation {
    /// Who asks.
    pub client: ClientConnection,
    /// What it may do by itself.
    pub roles: Option<Roles>,
    /// The number of the message type in the hub protocol (1 to 5).
    pub message_type: u8,
    /// Given where the client waits for an answer, and in the parts and ends of streams.
    pub invocation_id: Option<Box<str>>,
    /// The method, in types 1 and 4.
    pub target: Option<Box<str>>,
    /// The whole hub message in the client's protocol, without its framing.
    pub payload: Bytes,
}

/// Why an invocation is not taken; the text reaches the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationRejection(pub String);

/// The upstream of an engine that has none: refuses every call and says why.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUpstream;

impl Upstream for NoUpstream {
    fn invoke(&self, invocation: ClientInvocation) -> Result<Capacity, InvocationRejection> {
        let hub = &invocation.client.hub;
        Err(InvocationRejection(format!(
            "no upstream is configured for hub {hub}: clients of this hub can receive messages, but nobody answers their calls"
        )))
    }
}
