//! [`HubProtocol`]: the encodings of hub messages.

/// The encoding of hub messages on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HubProtocol {
    /// `json`: text; each message ends with 0x1E.
    Json,
    /// `messagepack`: binary; each message begins with its length.
    MessagePack,
    /// `blazorpack`: MessagePack with fewer argument types, between Blazor clients and their app server. Messages of the service
    /// itself are the same in both; arguments are never transcoded to or from it.
    BlazorPack,
}

/// The format of WebSocket messages or response bodies that a protocol requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferFormat {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl HubProtocol {
    /// The name in the handshake.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
            Self::BlazorPack => "blazorpack",
        }
    }

    /// The protocol with this name; case-insensitive, as in ASP.NET Core.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::MessagePack, Self::BlazorPack]
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// The transfer format that the transport must support.
    pub fn transfer_format(self) -> TransferFormat {
        match self {
            Self::Json => TransferFormat::Text,
            Self::MessagePack | Self::BlazorPack => TransferFormat::Binary,
        }
    }
}
