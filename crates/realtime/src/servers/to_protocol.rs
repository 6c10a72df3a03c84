//! From our words to service messages: what an app server is told.

use std::time::{SystemTime, UNIX_EPOCH};

use signalr_protocol::HubProtocol;
use signalr_protocol::service::{
    AckStatus, ClientHeaders, ConnectionKind, DataMessageType, Extensions, FlowOperation, Message,
    OpenConnection, ServiceClaims,
};

use super::invocations::Pending;
use super::passed_on::PassedOn;
use crate::claim_types::{self, with_long_types};
use crate::engine::{ClientContext, ConnectionId};

/// .NET ticks (100 nanoseconds each) from 1 January 0001 to the Unix epoch.
const DOT_NET_EPOCH_TICKS: u128 = 621_355_968_000_000_000;

/// Client bytes are cut into pieces of this size where the server understands it, so that one client's long message does not keep the
/// others of the same connection waiting.
const PIECE_BYTES: usize = 64 * 1024;

/// From which server a client comes that is new to another one.
pub(crate) const MIGRATE_FROM: &str = "Asrs-Migrate-From";
/// To which server a client goes.
pub(crate) const MIGRATE_TO: &str = "Asrs-Migrate-To";
const INSTANCE_ID: &str = "Asrs-Instance-Id";
const DIAGNOSTIC_CLIENT: &str = "Asrs-Is-Diagnostic-Client";

/// Says that a client is there. `headers` are those of its request that are passed on.
pub(crate) fn open(
    client: ConnectionId,
    protocol: HubProtocol,
    client_context: &ClientContext,
    headers: &PassedOn,
    instance: &str,
    from: Option<&str>,
    out: &mut Vec<u8>,
) {
    let (client, claims) = (client.to_string(), claim_types::parse(&client_context.claims));
    let query = format!("?{}", client_context.query);
    let is_diagnostic =
        claims.iter().any(|(kind, value)| kind == "asrs.s.dc" && value.eq_ignore_ascii_case("true"));
    let mut all: ClientHeaders<'_> = vec![(INSTANCE_ID, vec![instance])];
    if is_diagnostic {
        all.push((DIAGNOSTIC_CLIENT, vec!["true"]));
    }
    if let Some(from) = from {
        all.push((MIGRATE_FROM, vec![from]));
    }
    all.extend(headers.list());
    let message = Message::OpenConnection(OpenConnection {
        connection_id: &client,
        claims: told(&claims),
        headers: all,
        query_string: Some(if client_context.query.is_empty() { "" } else { &query }),
        extensions: Extensions { protocol: Some(protocol.name()), ..Extensions::default() },
    });
    message.encode(out);
}

/// What is to be said with the bytes of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    pub(crate) is_handshake: bool,
    /// The message that they end with goes on.
    pub(crate) is_partial: bool,
    /// The server learns what a handshake is, and gets long messages in pieces.
    pub(crate) modern: bool,
}

/// What a client sent.
pub(crate) fn data(client: ConnectionId, payload: &[u8], what: Data, out: &mut Vec<u8>) {
    let Data { is_handshake, is_partial, modern } = what;
    let client = client.to_string();
    let mut rest = payload;
    loop {
        let end = if modern { rest.len().min(PIECE_BYTES) } else { rest.len() };
        let (piece, more) = rest.split_at(end);
        let data_message_type =
            if is_handshake && modern { DataMessageType::Handshake } else { DataMessageType::Unknown };
        let is_partial = !more.is_empty() || (is_partial && modern);
        let extensions = Extensions { data_message_type, is_partial, ..Extensions::default() };
        Message::ConnectionData { connection_id: &client, payload: piece, extensions }.encode(out);
        if more.is_empty() {
            return;
        }
        rest = more;
    }
}

/// The record by which a client that moves to another server is introduced there; its answer stays in that server's SDK.
pub(crate) fn handshake_record(protocol: HubProtocol) -> Vec<u8> {
    format!("{{\"protocol\":\"{}\",\"version\":1}}\u{1e}", protocol.name()).into_bytes()
}

/// Says that a client is gone, or goes to another server.
pub(crate) fn close(client: ConnectionId, error: Option<&str>, to: Option<&str>, out: &mut Vec<u8>) {
    let client = client.to_string();
    let headers = to.map(|to| (MIGRATE_TO, vec![to])).into_iter().collect();
    let error_message = Some(error.unwrap_or_default());
    let message = Message::CloseConnection {
        connection_id: &client,
        error_message,
        headers,
        extensions: Extensions::default(),
    };
    message.encode(out);
}

/// Has a server hold back what it has for a client, or go on.
pub(crate) fn flow(client: ConnectionId, operation: FlowOperation, out: &mut Vec<u8>) {
    let client = client.to_string();
    let (connection_type, extensions) = (ConnectionKind::Client, Extensions::default());
    Message::ConnectionFlowControl { connection_id: &client, connection_type, operation, extensions }
        .encode(out);
}

/// Says that a client has come back on a new socket.
pub(crate) fn reconnected(client: ConnectionId, out: &mut Vec<u8>) {
    let client = client.to_string();
    Message::ConnectionReconnect { connection_id: &client, extensions: Extensions::default() }.encode(out);
}

/// Says which claims a client has from now on.
pub(crate) fn claims_changed(client: ConnectionId, client_context: &ClientContext, out: &mut Vec<u8>) {
    let (client, claims) = (client.to_string(), claim_types::parse(&client_context.claims));
    let message = Message::UpdateConnectionClaims {
        connection_id: &client,
        claims: told(&claims),
        extensions: Extensions::default(),
    };
    message.encode(out);
}

/// Tells the server of a client whose result it will get.
pub(crate) fn invocation<'a>(pending: &'a Pending, client: &'a str) -> Message<'a> {
    Message::ClientInvocation {
        invocation_id: &pending.invocation,
        connection_id: client,
        caller_server_id: &pending.caller_server,
        payloads: Vec::new(),
        extensions: Extensions::default(),
    }
}

/// Answers a message.
pub(crate) fn ack<'a>(
    ack_id: i32,
    status: AckStatus,
    message: &'a str,
    payload: Option<&'a [u8]>,
) -> Message<'a> {
    Message::Ack { ack_id, status, message: Some(message), extensions: Extensions::default(), payload }
}

/// Tells a caller that its call of a client has no result.
pub(crate) fn no_result<'a>(
    invocation: &'a str,
    connection: &'a str,
    caller_server: &'a str,
    why: &'a str,
) -> Message<'a> {
    Message::ErrorCompletion {
        invocation_id: invocation,
        connection_id: connection,
        caller_server_id: caller_server,
        error: Some(why),
        extensions: Extensions::default(),
    }
}

/// Tells a server of something about an object.
pub(crate) fn event<'a>(object: i32, id: &'a str, kind: i32, message: &'a str) -> Message<'a> {
    Message::ServiceEvent {
        object,
        id: Some(id),
        kind,
        message: Some(message),
        extensions: Extensions::default(),
    }
}

/// The value of a `servers` ping: `<ticks>:s1;s2`. The reader takes the newer of two.
pub(crate) fn servers<'a>(now: SystemTime, servers: impl IntoIterator<Item = &'a str>) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = DOT_NET_EPOCH_TICKS + since.as_nanos() / 100;
    let servers: Vec<&str> = servers.into_iter().collect();
    format!("{ticks}:{}", servers.join(";"))
}

/// A client's claims as app servers are told them, in every message: `ClaimTypes.Role` is what a hub looks up, and a token has `role`.
pub(crate) fn told(claims: &[(String, String)]) -> ServiceClaims<'_> {
    with_long_types(claims.iter().map(|(kind, value)| (kind.as_str(), value.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use signalr_protocol::next_message;
    use signalr_protocol::service::{FRAMING, parse};

    use super::*;

    fn client() -> ConnectionId {
        ConnectionId::parse(&"A".repeat(27)).unwrap()
    }

    fn messages(mut bytes: &[u8]) -> Vec<Message<'_>> {
        let mut messages = Vec::new();
        while let Some((payload, used)) = next_message(FRAMING, bytes, bytes.len()).unwrap() {
            messages.push(parse(payload).unwrap());
            bytes = &bytes[used..];
        }
        messages
    }

    #[test]
    fn an_opened_client_brings_its_claims_query_and_headers() {
        let client_context = ClientContext {
            claims: r#"{"sub":"ada","role":["a","b"],"exp":12,"asrs.s.dc":"True"}"#.into(),
            query: "hub=chat&x=%20".into(),
            remote: None,
        };
        let mut out = Vec::new();
        let request = [(http::header::USER_AGENT, http::HeaderValue::from_static("test"))];
        let bounds = crate::servers::Options::default().client_header_bounds();
        let headers = PassedOn::of(&request.into_iter().collect(), None, bounds).unwrap();
        open(client(), HubProtocol::Json, &client_context, &headers, "node", Some("server-1"), &mut out);
        let opened = messages(&out);
        let [Message::OpenConnection(open)] = &opened[..] else { panic!("{opened:?}") };
        let expected = [
            ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier", "ada"),
            ("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "a"),
            ("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "b"),
            ("exp", "12"),
            ("asrs.s.dc", "True"),
            ("sub", "ada"),
            ("role", "a"),
            ("role", "b"),
        ];
        assert_eq!(open.claims, expected);
        assert_eq!(open.query_string, Some("?hub=chat&x=%20"));
        assert_eq!(open.extensions.protocol, Some("json"));
        let headers: Vec<_> = open.headers.iter().map(|(name, values)| (*name, values[0])).collect();
        let expected = [
            ("Asrs-Instance-Id", "node"),
            ("Asrs-Is-Diagnostic-Client", "true"),
            ("Asrs-Migrate-From", "server-1"),
            ("user-agent", "test"),
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn long_messages_are_cut_only_where_the_server_understands_it() {
        let payload = vec![7; 2 * PIECE_BYTES + 1];
        let check = |modern, expected: &[(usize, bool)]| {
            let mut out = Vec::new();
            data(client(), &payload, Data { is_handshake: false, is_partial: false, modern }, &mut out);
            let pieces: Vec<_> = messages(&out)
                .iter()
                .map(|message| match message {
                    Message::ConnectionData { payload, extensions, .. } => {
                        (payload.len(), extensions.is_partial)
                    }
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(pieces, expected);
        };
        check(true, &[(PIECE_BYTES, true), (PIECE_BYTES, true), (1, false)]);
        check(false, &[(payload.len(), false)]);
        let mut out = Vec::new();
        data(client(), b"", Data { is_handshake: false, is_partial: false, modern: true }, &mut out);
        assert_eq!(messages(&out).len(), 1);
        let mut out = Vec::new();
        data(client(), b"a", Data { is_handshake: false, is_partial: true, modern: true }, &mut out);
        let Message::ConnectionData { extensions, .. } = &messages(&out)[0] else { panic!("{out:?}") };
        assert!(extensions.is_partial, "its end is still to come");
    }

    #[test]
    fn old_servers_are_told_nothing_that_they_cannot_step_over() {
        let kind = |modern| {
            let mut out = Vec::new();
            data(client(), b"{}", Data { is_handshake: true, is_partial: false, modern }, &mut out);
            let messages = messages(&out);
            let Message::ConnectionData { extensions, .. } = &messages[0] else { panic!("{messages:?}") };
            extensions.data_message_type
        };
        assert_eq!(kind(true), DataMessageType::Handshake);
        assert_eq!(kind(false), DataMessageType::Unknown);
    }

    #[test]
    fn servers_are_listed_behind_ticks() {
        // The ticks of 1 January 2000, as .NET has them.
        let at = UNIX_EPOCH + Duration::from_secs(946_684_800);
        assert_eq!(servers(at, ["a", "b"]), "630822816000000000:a;b");
        assert_eq!(servers(at, []), "630822816000000000:");
    }
}
