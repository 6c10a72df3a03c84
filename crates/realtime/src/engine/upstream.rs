//! [`Upstream`]: who hears what clients call, and whose connections come and go.

use bytes::Bytes;
use signalr_protocol::HubProtocol;

use super::{ConnectionId, EndReason, Hub, UserId};

/// Takes what clients invoke. It is called on a shard's thread: it must hand the work on and return at once, never block.
///
/// An answer goes back through [`EngineHandle`](super::EngineHandle), to the connection that asked.
pub trait Upstream: Send + Sync + 'static {
    /// A client calls a method of its hub. On refusal the engine answers with the reason if an answer is expected.
    fn invoke(&self, invocation: ClientInvocation) -> Result<(), Refusal>;

    /// A connection has done its handshake.
    fn connected(&self, _connection: &ClientConnection) {}

    /// A connection that had done its handshake has ended.
    fn disconnected(&self, _connection: &ClientConnection, _reason: EndReason) {}
}

/// Which client something is about.
#[derive(Clone, Debug)]
pub struct ClientConnection {
    /// The connection.
    pub id: ConnectionId,
    /// Its hub.
    pub hub: Hub,
    /// Its user, if its token named one.
    pub user: Option<UserId>,
    /// What it speaks.
    pub protocol: HubProtocol,
}

/// A message by which a client asks for something: an invocation, or the parts and ends of streams and results.
#[derive(Clone, Debug)]
pub struct ClientInvocation {
    /// Who asks.
    pub client: ClientConnection,
    /// The number of the message type in the hub protocol (1 to 5).
    pub message_type: u8,
    /// Given where the client waits for an answer.
    pub invocation_id: Option<Box<str>>,
    /// The whole hub message in the client's protocol, without its framing.
    pub payload: Bytes,
}

/// Why an invocation is not taken; the text reaches the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// The upstream of an engine that has none: refuses every call and says why.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUpstream;

impl Upstream for NoUpstream {
    fn invoke(&self, invocation: ClientInvocation) -> Result<(), Refusal> {
        let hub = &invocation.client.hub;
        Err(Refusal(format!(
            "no upstream is configured for hub {hub}: clients of this hub can receive messages, but nobody answers their calls"
        )))
    }
}
