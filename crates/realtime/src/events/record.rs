//! [`ConnectionRecord`]: the record on disk of a connection for whose `disconnected` there is a listener. Pure.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use signalr_protocol::{HubProtocol, TransportType};
use state::Instance;

use super::listener::{ConnectionChange, ConnectionEvent, NODE_LOST};
use realtime_engine::{ClientConnection, ClientContext, ConnectionId, Hub, NodeId, RemoteEndpoint, UserId};

/// The format version of records; a record with a newer one is ignored.
const VERSION: u32 = 1;

/// The prefix of the keys of all records.
const PREFIX: &str = "realtime/connections";

/// The start of a process, in milliseconds since 1970; distinguishes its records from those of earlier processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProcessRun(pub(crate) u64);

/// The key of a record: the process that wrote it, and the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RecordKey {
    pub(crate) life: ProcessRun,
    pub(crate) connection: ConnectionId,
}

/// A connection on disk: from its handshake until its `disconnected` is delivered.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct ConnectionRecord<'a> {
    version: u32,
    #[serde(borrow)]
    hub: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    claims: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    query: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    transport: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended<'a>>,
}

/// How a connection ended.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Ended<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    at_unix_ms: u64,
}

/// Why a record cannot be read. It is not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableRecord {
    #[error("the record is not JSON of a known format")]
    Json(#[from] serde_json::Error),
    #[error("the record has format version {0}, which a newer version of chappe wrote")]
    Newer(u32),
    #[error("the record has the unknown hub protocol {0}")]
    Protocol(String),
}

impl ProcessRun {
    /// The run of a process that starts now.
    pub(crate) fn now() -> Self {
        Self(unix_ms(SystemTime::now()))
    }
}

impl RecordKey {
    /// The prefix of the keys of all records of a node.
    pub(crate) fn prefix(node: NodeId) -> String {
        format!("{PREFIX}/{}/", node.0)
    }

    pub(crate) fn key(self, node: NodeId) -> String {
        format!("{}{:016x}/{}", Self::prefix(node), self.life.0, self.connection)
    }

    pub(crate) fn parse(key: &str, node: NodeId) -> Option<Self> {
        let (life, connection) = key.strip_prefix(&Self::prefix(node))?.split_once('/')?;
        let life = ProcessRun(u64::from_str_radix(life, 16).ok()?);
        Some(Self { life, connection: ConnectionId::parse(connection).ok()? })
    }
}

impl<'a> ConnectionRecord<'a> {
    /// The record of a connection that is opening.
    pub(crate) fn open(client: &'a ClientConnection) -> Self {
        let client_context = client.client_context.as_deref();
        let remote = client_context.and_then(|client_context| client_context.remote);
        Self {
            version: VERSION,
            hub: client.hub.name().into(),
            user: client.user.as_ref().map(|user| user.as_str().into()),
            protocol: client.protocol.name().into(),
            claims: client_context.map(|client_context| client_context.claims.as_ref().into()),
            query: client_context.map(|client_context| client_context.query.as_ref().into()),
            transport: remote.map(|remote| remote.transport.name().into()),
            address: remote.and_then(|remote| remote.address),
            ended: None,
        }
    }

    /// The record of a connection that has ended.
    pub(crate) fn ended(event: &'a ConnectionEvent) -> Self {
        let mut record = Self::open(&event.client);
        if let ConnectionChange::Disconnected { reason, error } = &event.change {
            record.ended = Some(Ended {
                reason: reason.as_ref().into(),
                error: error.as_deref().map(Cow::Borrowed),
                at_unix_ms: unix_ms(event.at),
            });
        }
        record
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers serialize to JSON")
    }

    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, UnreadableRecord> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Head { version } = serde_json::from_slice(bytes)?;
        if version > VERSION {
            Err(UnreadableRecord::Newer(version))
        } else {
            Ok(serde_json::from_slice(bytes)?)
        }
    }

    /// The `disconnected` that is not delivered yet. If the connection was open when its process ended, the time of its end is
    /// unknown, and `now` is used.
    pub(crate) fn disconnected(
        self,
        instance: &Instance,
        connection: ConnectionId,
        now: SystemTime,
    ) -> Result<ConnectionEvent, UnreadableRecord> {
        let protocol = HubProtocol::from_name(&self.protocol)
            .ok_or_else(|| UnreadableRecord::Protocol(self.protocol.into_owned()))?;
        let transport = self.transport.and_then(|name| transport(&name));
        let remote = transport.map(|transport| RemoteEndpoint { transport, address: self.address });
        let client_context = self.claims.zip(self.query).map(|(claims, query)| {
            Arc::new(ClientContext { claims: claims.as_ref().into(), query: query.as_ref().into(), remote })
        });
        let client = ClientConnection {
            id: connection,
            hub: Hub::new(instance.clone(), &self.hub),
            user: self.user.map(|user| UserId::new(&user)),
            protocol,
            client_context,
        };
        let (what, at) = match self.ended {
            Some(ended) => {
                let error = ended.error.map(|error| error.as_ref().into());
                let reason = Cow::Owned(ended.reason.into_owned());
                let at = UNIX_EPOCH + Duration::from_millis(ended.at_unix_ms);
                (ConnectionChange::Disconnected { reason, error }, at)
            }
            None => {
                let error = Some("the process that held the connection was lost".into());
                (ConnectionChange::Disconnected { reason: Cow::Borrowed(NODE_LOST), error }, now)
            }
        };
        Ok(ConnectionEvent { client, change: what, at })
    }
}

fn transport(name: &str) -> Option<TransportType> {
    [TransportType::WebSockets, TransportType::ServerSentEvents, TransportType::LongPolling]
        .into_iter()
        .find(|transport| transport.name() == name)
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ClientConnection {
        let address = Some("2001:db8::7".parse().unwrap());
        let remote = Some(RemoteEndpoint { transport: TransportType::LongPolling, address });
        let client_context =
            ClientContext { claims: r#"{"sub":"ada \u00fc"}"#.into(), query: "hub=chat&x=1".into(), remote };
        ClientConnection {
            id: ConnectionId::parse(&"A".repeat(27)).unwrap(),
            hub: Hub::new(Instance::new("test").unwrap(), "chat"),
            user: Some(UserId::new("ada \"ü\"")),
            protocol: HubProtocol::MessagePack,
            client_context: Some(Arc::new(client_context)),
        }
    }

    /// The event of a record after a restart.
    fn late(bytes: &[u8]) -> ConnectionEvent {
        let now = UNIX_EPOCH + Duration::from_secs(9);
        let (instance, id) = (Instance::new("test").unwrap(), client().id);
        ConnectionRecord::parse(bytes).unwrap().disconnected(&instance, id, now).unwrap()
    }

    #[test]
    fn after_a_restart_an_open_connection_ended_with_node_lost() {
        let event = late(&ConnectionRecord::open(&client()).to_bytes());
        assert_eq!(format!("{:?}", event.client), format!("{:?}", client()));
        assert_eq!(event.at, UNIX_EPOCH + Duration::from_secs(9));
        let error = Some("the process that held the connection was lost".into());
        assert_eq!(event.change, ConnectionChange::Disconnected { reason: NODE_LOST.into(), error });
    }

    #[test]
    fn after_a_restart_an_ended_connection_has_its_reason() {
        for error in [None, Some("slow".into())] {
            let what = ConnectionChange::Disconnected { reason: "ClientClosed".into(), error };
            let at = UNIX_EPOCH + Duration::from_millis(1234);
            let event = ConnectionEvent { client: client(), change: what.clone(), at };
            let late = late(&ConnectionRecord::ended(&event).to_bytes());
            assert_eq!((late.change, late.at), (what, at));
        }
    }

    #[test]
    fn a_client_without_user_and_claims_has_a_short_record() {
        let client = ClientConnection { user: None, client_context: None, ..client() };
        let bytes = ConnectionRecord::open(&client).to_bytes();
        assert_eq!(String::from_utf8_lossy(&bytes), r#"{"version":1,"hub":"chat","protocol":"messagepack"}"#);
        assert!(late(&bytes).client.client_context.is_none());
    }

    #[test]
    fn records_of_an_unknown_format_are_refused() {
        for (bytes, expected) in [
            (
                r#"{"version":2,"all":"new"}"#,
                "the record has format version 2, which a newer version of chappe wrote",
            ),
            (r#"{"hub":"chat"}"#, "the record is not JSON of a known format"),
            ("", "the record is not JSON of a known format"),
        ] {
            assert_eq!(ConnectionRecord::parse(bytes.as_bytes()).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_record_key_parses_from_its_own_text() {
        let record_key = RecordKey { life: ProcessRun(0xfeed), connection: client().id };
        let key = record_key.key(NodeId(7));
        assert_eq!(key, format!("realtime/connections/7/000000000000feed/{}", "A".repeat(27)));
        assert_eq!(RecordKey::parse(&key, NodeId(7)), Some(record_key));
        assert_eq!(RecordKey::parse(&key, NodeId(8)), None);
        assert_eq!(RecordKey::parse("realtime/connections/7/x/y", NodeId(7)), None);
    }
}
