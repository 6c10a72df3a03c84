//! The meaning of messages, without what differs between runs.

use signalr_protocol::service::{Message, OpenConnection};

/// Claims that differ between runs.
pub(super) const OF_THIS_RUN: [&str; 3] = ["exp", "iat", "nbf"];

/// Checks the client's claims, headers, query and protocol against the recording; newer versions may send more.
pub(super) fn check_opened(recorded: &OpenConnection<'_>, live: &OpenConnection<'_>) {
    for claim in recorded.claims.iter().filter(|(kind, _)| !OF_THIS_RUN.contains(kind)) {
        assert!(live.claims.contains(claim), "{claim:?} of {:?}", live.claims);
    }
    let user = recorded.claims.iter().find(|(kind, _)| *kind == "nameid").expect("the client has a user");
    let long = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
    assert!(live.claims.contains(&(long, user.1)), "{:?}", live.claims);
    for header in &recorded.headers {
        assert!(live.headers.contains(header), "{header:?} of {:?}", live.headers);
    }
    assert_eq!(live.query_string, recorded.query_string);
    assert_eq!(live.extensions.protocol, recorded.extensions.protocol);
}

/// The meaning of a message for the SDK, without the texts of acks, instance names and counts of a run.
pub(super) fn meaning(message: &Message<'_>) -> String {
    match message {
        Message::HandshakeResponse { error_message, connection_id, .. } => {
            assert!(connection_id.is_some(), "the connection has a name");
            format!("handshake answered {:?}", error_message.unwrap_or_default())
        }
        Message::Ping { messages } if messages.first() == Some(&"status") => {
            let keys: Vec<_> = messages.iter().step_by(2).collect();
            format!("status {} of {keys:?}", messages[1])
        }
        Message::Ping { messages } => format!("ping {messages:?}"),
        Message::ConnectionData { connection_id, payload, .. } => {
            format!("{connection_id} says {}", payload.escape_ascii())
        }
        Message::CloseConnection { connection_id, error_message, headers, .. } => {
            format!("{connection_id} is closed, {:?}, {headers:?}", error_message.unwrap_or_default())
        }
        Message::Ack { ack_id, status, payload, .. } => format!("ack {ack_id}: {status:?} {payload:?}"),
        Message::ClientInvocation { invocation_id, connection_id, caller_server_id, .. } => {
            format!("{caller_server_id} calls {connection_id}: {invocation_id}")
        }
        Message::ClientCompletion {
            invocation_id,
            connection_id,
            caller_server_id,
            protocol,
            payload,
            ..
        } => {
            let payload = payload.escape_ascii();
            format!("{caller_server_id}: {connection_id} answers {invocation_id} in {protocol:?}: {payload}")
        }
        Message::ErrorCompletion { invocation_id, connection_id, caller_server_id, error, .. } => {
            format!("{caller_server_id}: {connection_id} does not complete {invocation_id}: {error:?}")
        }
        Message::ServiceMapping { invocation_id, connection_id, instance_id, .. } => {
            format!("{connection_id} of {invocation_id} is at {instance_id}")
        }
        Message::ConnectionFlowControl { connection_id, connection_type, operation, .. } => {
            format!("{operation:?} of {connection_type:?} {connection_id}")
        }
        other => format!("{other:?}"),
    }
}

/// A hub message: JSON as text, MessagePack as its bytes.
pub(super) fn shown(message: &[u8]) -> String {
    match std::str::from_utf8(message) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => message.escape_ascii().to_string(),
    }
}
