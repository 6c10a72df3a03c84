//! For the fuzz targets of `realtime`, which are outside of the workspace: what a message becomes in each protocol. It exists with the
//! feature `fuzzing` only, and is no stable interface.

use bytes::Bytes;
use signalr_protocol::HubProtocol;

use crate::OutgoingMessage;
use crate::message::MessageContent;
use crate::shard::Encoded;

/// A message as the frames that clients of each protocol get.
#[derive(Debug)]
pub struct Frames {
    /// In JSON.
    pub json: Option<Bytes>,
    /// In MessagePack.
    pub messagepack: Option<Bytes>,
    /// In the variant of Blazor.
    pub blazorpack: Option<Bytes>,
    /// Whether the sender gave the form for Blazor and no other.
    pub only_blazorpack: bool,
}

/// Encodes a message in each protocol.
pub fn frames(message: &OutgoingMessage) -> Frames {
    let mut encoded = Encoded::new(message, true);
    let mut bytes = |protocol| encoded.step(protocol).map(|step| step.frame().bytes().clone());
    Frames {
        json: bytes(HubProtocol::Json),
        messagepack: bytes(HubProtocol::MessagePack),
        blazorpack: bytes(HubProtocol::BlazorPack),
        only_blazorpack: matches!(&message.0, MessageContent::Ready { json: None, messagepack: None, .. }),
    }
}
