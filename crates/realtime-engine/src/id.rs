//! [`ConnectionId`] and [`ConnectionToken`]: the public id of a connection, and the secret of its client.
//!
//! Both contain the node and the shard that own the connection, so that sending to one connection, or routing a client by its
//! token, needs no lookup.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Number of this process among those that serve the same hubs. A single node is node 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeId(pub u16);

/// Number of a shard within its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ShardId(pub(crate) u16);

/// The public id of a connection, to which apps send.
///
/// As text: 27 characters of the URL-safe base64 alphabet, made from node, shard and 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Address);

/// The secret that a client sends as `id` when it connects after negotiate version 1, and by which its app identifies the
/// connection when it refreshes the client's authentication. The [`ConnectionId`] is a hash of it: the token determines the
/// connection without a table, but the public id does not reveal the token. Node and shard are the same as in the id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionToken(Address);

/// A text that is not a connection id or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection id has 27 characters of URL-safe base64")]
pub struct MalformedId;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Address {
    node: u16,
    shard: u16,
    /// An array, because the alignment of a `u128` would cost 12 bytes in every connection.
    random: [u8; 16],
}

/// Generates a token for a new connection, and its id.
pub(crate) fn draw_both(node: NodeId, shard: ShardId) -> (ConnectionId, ConnectionToken) {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).expect("the operating system gives random bytes");
    let token = ConnectionToken(Address { node: node.0, shard: shard.0, random });
    (token.connection(), token)
}

impl ConnectionId {
    #[cfg(test)]
    pub(crate) fn draw(node: NodeId, shard: ShardId) -> Self {
        draw_both(node, shard).0
    }

    /// Parses the text.
    pub fn parse(text: &str) -> Result<Self, MalformedId> {
        Address::parse(text).map(Self)
    }

    /// The node that owns the connection.
    pub fn node(self) -> NodeId {
        NodeId(self.0.node)
    }

    pub(crate) fn shard(self) -> ShardId {
        ShardId(self.0.shard)
    }
}

impl ConnectionToken {
    /// Parses the text.
    pub fn parse(text: &str) -> Result<Self, MalformedId> {
        Address::parse(text).map(Self)
    }

    /// The node that issued the token.
    pub fn node(self) -> NodeId {
        NodeId(self.0.node)
    }

    /// The connection that the token is for, whether it exists or not.
    pub fn connection(self) -> ConnectionId {
        let mut hash = Context::new(&SHA256);
        hash.update(b"connection id of a connection token\0");
        hash.update(&self.0.bytes());
        let mut random = [0; 16];
        random.copy_from_slice(&hash.finish().as_ref()[..16]);
        ConnectionId(Address { random, ..self.0 })
    }
}

impl Address {
    const BYTES: usize = 20;

    fn parse(text: &str) -> Result<Self, MalformedId> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MalformedId)?;
        let bytes: [u8; Self::BYTES] = bytes.try_into().map_err(|_| MalformedId)?;
        let mut random = [0; 16];
        random.copy_from_slice(&bytes[4..]);
        let pair = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Ok(Self { node: pair(0), shard: pair(2), random })
    }

    fn bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&self.node.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.shard.to_be_bytes());
        bytes[4..].copy_from_slice(&self.random);
        bytes
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.bytes()))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({})", self.0)
    }
}

impl fmt::Display for ConnectionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ConnectionToken {
    // A token is a secret and must not be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_parsed_from_its_text_with_node_and_shard() {
        let id = ConnectionId::draw(NodeId(7), ShardId(300));
        let text = id.to_string();
        assert_eq!(text.len(), 27);
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'),
            "{text}"
        );
        assert_eq!(ConnectionId::parse(&text), Ok(id));
        assert_eq!((id.node(), id.shard()), (NodeId(7), ShardId(300)));
    }

    #[test]
    fn a_text_that_is_not_an_id_is_refused() {
        for text in [
            "",
            "abc",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAA+A",
            "AAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ] {
            assert_eq!(ConnectionId::parse(text), Err(MalformedId), "{text}");
        }
    }

    #[test]
    fn tokens_are_unique_and_hidden_from_logs() {
        let (id, token) = draw_both(NodeId(0), ShardId(0));
        assert_ne!(token.to_string(), draw_both(NodeId(0), ShardId(0)).1.to_string());
        assert_ne!(token.to_string(), id.to_string());
        assert_eq!(format!("{token:?}"), "ConnectionToken(..)");
    }

    #[test]
    fn a_token_determines_its_connection_id_and_is_different_from_it() {
        let (id, token) = draw_both(NodeId(7), ShardId(300));
        let shown = ConnectionToken::parse(&token.to_string()).unwrap();
        assert_eq!(shown.connection(), id);
        assert_eq!((id.node(), id.shard()), (NodeId(7), ShardId(300)));
        assert_ne!(ConnectionToken::parse(&id.to_string()).unwrap().connection(), id);
    }
}
