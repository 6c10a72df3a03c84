//! [`Upstream`]: receives the invocations and connection events of clients in Serverless mode.

use bytes::Bytes;

use crate::{Capacity, ClientConnection, EndReason, Hub, Roles};

/// Receives invocations and connection events. It is called on a shard's thread, so it must queue the work and return; it must never
/// block.
///
/// Results go through [`EngineHandle`](super::EngineHandle) to the client's connection. Clients of an app server
/// ([`AppServer`](super::AppServer)) are not reported here.
pub trait Upstream: std::fmt::Debug + Send + Sync + 'static {
    /// A client invokes a method of its hub. If it is rejected, the engine returns the error to a client that expects a result. On
    /// [`Capacity::Exhausted`] the invocation is accepted, but nothing more is read from this client until
    /// [`EngineHandle::resume`](super::EngineHandle::resume); messages of the same read may still follow.
    ///
    /// # Errors
    ///
    /// If the invocation is rejected.
    fn invoke(&self, invocation: ClientInvocation) -> Result<Capacity, InvocationRejection>;

    /// Whether the `ClientContext` of a hub's clients is stored while they are connected.
    fn keeps_client_context(&self, _hub: &Hub) -> bool {
        false
    }

    /// A connection has sent its handshake request, and waits for the response.
    fn connecting(&self, _connection: &ClientConnection) -> HandshakeDecision {
        HandshakeDecision::Accept
    }

    /// A connection has completed its handshake.
    fn connected(&self, _connection: &ClientConnection) {}

    /// A connection that was reported by [`connecting`](Upstream::connecting) has ended; called once for each of them.
    fn disconnected(&self, _connection: &ClientConnection, _reason: EndReason, _error: Option<&str>) {}
}

/// When the handshake response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeDecision {
    /// At once.
    Accept,
    /// When [`EngineHandle::complete_handshake`](super::EngineHandle::complete_handshake) is called.
    Wait,
}

/// A hub message of a client: an invocation, or items and ends of streams and results.
#[derive(Clone, Debug)]
pub struct ClientInvocation {
    /// The client.
    pub client: ClientConnection,
    /// Its permissions on groups.
    pub roles: Option<Roles>,
    /// The number of the message type in the hub protocol (1 to 5).
    pub message_type: u8,
    /// The invocation id, if the client expects a result, and in items and ends of streams.
    pub invocation_id: Option<Box<str>>,
    /// The method, in types 1 and 4.
    pub target: Option<Box<str>>,
    /// The complete hub message in the client's protocol, without its framing.
    pub payload: Bytes,
}

/// Why an invocation is rejected; the client receives the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationRejection(pub String);

/// The upstream of an engine without upstreams: rejects every invocation with an explanation.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUpstream;

impl Upstream for NoUpstream {
    fn invoke(&self, invocation: ClientInvocation) -> Result<Capacity, InvocationRejection> {
        let hub = &invocation.client.hub;
        Err(InvocationRejection(format!(
            "no upstream is configured for hub {hub}: its clients can receive messages, but cannot invoke methods"
        )))
    }
}
