//! Encodes messages for app servers in the service protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use signalr_protocol::HubProtocol;
use signalr_protocol::service::{
    AckStatus, ClientHeaders, ConnectionKind, DataMessageType, Extensions, FlowOperation, Message,
    OpenConnection, ServiceClaims,
};

use super::forwarded_headers::ForwardedHeaders;
use super::invocations::PendingInvocation;
use crate::claim_types::{self, with_long_types};
use realtime_engine::{ClientContext, ConnectionId};

/// .NET ticks (100 nanoseconds each) from 1 January 0001 to the Unix epoch.
const DOT_NET_EPOCH_TICKS: u128 = 621_355_968_000_000_000;

/// Long messages of clients are split into parts of this size if the app server supports it, so that they do not delay the other clients of
/// the connection.
const PART_BYTES: usize = 64 * 1024;

/// Header with the old app server of a client that migrates.
pub(crate) const MIGRATE_FROM: &str = "Asrs-Migrate-From";
/// Header with the new app server of a client that migrates.
pub(crate) const MIGRATE_TO: &str = "Asrs-Migrate-To";
const INSTANCE_ID: &str = "Asrs-Instance-Id";
const DIAGNOSTIC_CLIENT: &str = "Asrs-Is-Diagnostic-Client";

/// Encodes an OpenConnection. `headers` are the forwarded headers of the client's connect request.
pub(crate) fn open(
    client: ConnectionId,
    protocol: HubProtocol,
    client_context: &ClientContext,
    headers: &ForwardedHeaders,
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
        claims: claims_with_long_types(&claims),
        headers: all,
        query_string: Some(if client_context.query.is_empty() { "" } else { &query }),
        extensions: Extensions { protocol: Some(protocol.name()), ..Extensions::default() },
    });
    message.encode(out);
}

/// The properties of a client's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    pub(crate) is_handshake: bool,
    /// Their last message is incomplete.
    pub(crate) is_partial: bool,
    /// The SDK of the app server supports the type of a message and messages in parts.
    pub(crate) is_recent_sdk: bool,
}

/// Encodes bytes of a client as ConnectionData.
pub(crate) fn data(client: ConnectionId, payload: &[u8], what: Data, out: &mut Vec<u8>) {
    let Data { is_handshake, is_partial, is_recent_sdk } = what;
    let client = client.to_string();
    let mut rest = payload;
    loop {
        let end = if is_recent_sdk { rest.len().min(PART_BYTES) } else { rest.len() };
        let (part, more) = rest.split_at(end);
        let data_message_type =
            if is_handshake && is_recent_sdk { DataMessageType::Handshake } else { DataMessageType::Unknown };
        let is_partial = !more.is_empty() || (is_partial && is_recent_sdk);
        let extensions = Extensions { data_message_type, is_partial, ..Extensions::default() };
        Message::ConnectionData { connection_id: &client, payload: part, extensions }.encode(out);
        if more.is_empty() {
            return;
        }
        rest = more;
    }
}

/// The handshake of a client that migrates, for its new app server. The SDK discards the response.
pub(crate) fn handshake_record(protocol: HubProtocol) -> Vec<u8> {
    format!("{{\"protocol\":\"{}\",\"version\":1}}\u{1e}", protocol.name()).into_bytes()
}

/// Encodes a CloseConnection for a client that has disconnected, or migrates to another app server.
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

/// Pauses or resumes the messages of an app server to a client.
pub(crate) fn flow(client: ConnectionId, operation: FlowOperation, out: &mut Vec<u8>) {
    let client = client.to_string();
    let (connection_type, extensions) = (ConnectionKind::Client, Extensions::default());
    Message::ConnectionFlowControl { connection_id: &client, connection_type, operation, extensions }
        .encode(out);
}

/// Encodes that a client has reconnected statefully.
pub(crate) fn reconnected(client: ConnectionId, out: &mut Vec<u8>) {
    let client = client.to_string();
    Message::ConnectionReconnect { connection_id: &client, extensions: Extensions::default() }.encode(out);
}

/// Encodes the new claims of a client.
pub(crate) fn claims_changed(client: ConnectionId, client_context: &ClientContext, out: &mut Vec<u8>) {
    let (client, claims) = (client.to_string(), claim_types::parse(&client_context.claims));
    let message = Message::UpdateConnectionClaims {
        connection_id: &client,
        claims: claims_with_long_types(&claims),
        extensions: Extensions::default(),
    };
    message.encode(out);
}

/// Announces an invocation to the app server of the client, which gets the result.
pub(crate) fn invocation<'a>(pending: &'a PendingInvocation, client: &'a str) -> Message<'a> {
    Message::ClientInvocation {
        invocation_id: &pending.invocation,
        connection_id: client,
        caller_server_id: &pending.caller_server,
        payloads: Vec::new(),
        extensions: Extensions::default(),
    }
}

/// An ack.
pub(crate) fn ack<'a>(
    ack_id: i32,
    status: AckStatus,
    message: &'a str,
    payload: Option<&'a [u8]>,
) -> Message<'a> {
    Message::Ack { ack_id, status, message: Some(message), extensions: Extensions::default(), payload }
}

/// The error completion of a client invocation.
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

/// A service event about an object.
pub(crate) fn event<'a>(object: i32, id: &'a str, kind: i32, message: &'a str) -> Message<'a> {
    Message::ServiceEvent {
        object,
        id: Some(id),
        kind,
        message: Some(message),
        extensions: Extensions::default(),
    }
}

/// The value of a `servers` ping: `<ticks>:s1;s2`. The SDK uses the newer of two values.
pub(crate) fn servers<'a>(now: SystemTime, servers: impl IntoIterator<Item = &'a str>) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = DOT_NET_EPOCH_TICKS + since.as_nanos() / 100;
    let servers: Vec<&str> = servers.into_iter().collect();
    format!("{ticks}:{}", servers.join(";"))
}

/// The claims of a client with their long types too: hubs read `ClaimTypes.Role`, but a token has `role`.
pub(crate) fn claims_with_long_types(claims: &[(String, String)]) -> ServiceClaims<'_> {
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
    fn open_connection_has_claims_query_and_headers() {
        let client_context = ClientContext {
            claims: r#"{"sub":"ada","role":["a","b"],"exp":12,"asrs.s.dc":"True"}"#.into(),
            query: "hub=chat&x=%20".into(),
            remote: None,
        };
        let mut out = Vec::new();
        let request = [(http::header::USER_AGENT, http::HeaderValue::from_static("test"))];
        let bounds = crate::servers::Options::default().client_header_limits();
        let headers = ForwardedHeaders::new(&request.into_iter().collect(), None, bounds).unwrap();
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
    fn long_messages_are_split_only_for_recent_sdks() {
        let payload = vec![7; 2 * PART_BYTES + 1];
        let check = |is_recent_sdk, expected: &[(usize, bool)]| {
            let mut out = Vec::new();
            data(
                client(),
                &payload,
                Data { is_handshake: false, is_partial: false, is_recent_sdk },
                &mut out,
            );
            let parts: Vec<_> = messages(&out)
                .iter()
                .map(|message| match message {
                    Message::ConnectionData { payload, extensions, .. } => {
                        (payload.len(), extensions.is_partial)
                    }
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(parts, expected);
        };
        check(true, &[(PART_BYTES, true), (PART_BYTES, true), (1, false)]);
        check(false, &[(payload.len(), false)]);
        let mut out = Vec::new();
        data(client(), b"", Data { is_handshake: false, is_partial: false, is_recent_sdk: true }, &mut out);
        assert_eq!(messages(&out).len(), 1);
        let mut out = Vec::new();
        data(client(), b"a", Data { is_handshake: false, is_partial: true, is_recent_sdk: true }, &mut out);
        let Message::ConnectionData { extensions, .. } = &messages(&out)[0] else { panic!("{out:?}") };
        assert!(extensions.is_partial, "a later part has its end");
    }

    #[test]
    fn old_sdks_receive_no_message_type() {
        let kind = |is_recent_sdk| {
            let mut out = Vec::new();
            data(client(), b"{}", Data { is_handshake: true, is_partial: false, is_recent_sdk }, &mut out);
            let messages = messages(&out);
            let Message::ConnectionData { extensions, .. } = &messages[0] else { panic!("{messages:?}") };
            extensions.data_message_type
        };
        assert_eq!(kind(true), DataMessageType::Handshake);
        assert_eq!(kind(false), DataMessageType::Unknown);
    }

    #[test]
    fn the_servers_ping_lists_servers_after_the_ticks() {
        // The ticks of 1 January 2000 in .NET.
        let at = UNIX_EPOCH + Duration::from_secs(946_684_800);
        assert_eq!(servers(at, ["a", "b"]), "630822816000000000:a;b");
        assert_eq!(servers(at, []), "630822816000000000:");
    }
}
