//! Access for the fuzz targets of `realtime`, which are outside the workspace: the encodings of a message in each protocol. It
//! exists only with the feature `fuzzing`, and is not a stable interface.

use bytes::Bytes;
use signalr_protocol::HubProtocol;

use crate::OutgoingMessage;
use crate::message::MessageContent;
use crate::shard::Encoded;

/// A message as the frames for clients of each protocol.
#[derive(Debug)]
pub struct Frames {
    /// In JSON.
    pub json: Option<Bytes>,
    /// In MessagePack.
    pub messagepack: Option<Bytes>,
    /// In BlazorPack, Blazor's variant of MessagePack.
    pub blazorpack: Option<Bytes>,
    /// Whether the sender provided only BlazorPack.
    pub only_blazorpack: bool,
}

/// Encodes a message in each protocol.
pub fn frames(message: &OutgoingMessage) -> Frames {
    let mut encoded = Encoded::new(message, true);
    let mut bytes = |protocol| encoded.appender(protocol).map(|appender| appender.frame().bytes().clone());
    Frames {
        json: bytes(HubProtocol::Json),
        messagepack: bytes(HubProtocol::MessagePack),
        blazorpack: bytes(HubProtocol::BlazorPack),
        only_blazorpack: matches!(&message.0, MessageContent::Ready { json: None, messagepack: None, .. }),
    }
}
