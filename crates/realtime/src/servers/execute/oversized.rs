//! Messages of app servers above the size limit. If an ack or a result is expected, it is an error; all others cause an
//! event.

use std::sync::Arc;

use signalr_protocol::service::AckStatus;
use signalr_protocol::{HubProtocol, length_prefix};

use super::publish;
use crate::servers::oversized::OversizedMessage;
use crate::servers::request::{EVENT_CONNECTION, EVENT_INVALID, EVENT_SERVER_CONNECTION};
use crate::servers::server_connection::ServerConnection;
use crate::servers::shared::Servers;
use crate::servers::to_protocol;
use realtime_engine::{ConnectionId, OutgoingMessage, Stopped, Target};

/// The beginning of a completion in JSON, as .NET writes it; the invocation id follows.
const JSON_COMPLETION: &[u8] = b"{\"type\":3,\"invocationId\":";

impl Servers {
    /// Rejects a message.
    pub(super) async fn reject_oversized(
        &self,
        server: &Arc<ServerConnection>,
        message: OversizedMessage,
    ) -> Result<(), Stopped> {
        let why = message.error();
        self.metrics().refused();
        tracing::warn!(hub = %server.hub, server = %server.server_id, why, "a message of an app server is too large");
        let texts: Vec<&str> = message.texts.iter().map(|text| &**text).collect();
        if let Some(ack_id) = message.ack_id() {
            server.send_queue.push(&to_protocol::ack(ack_id, AckStatus::InternalServerError, &why, None));
            return Ok(());
        }
        match (message.kind, &texts[..]) {
            (6, [id, ..]) => {
                server.send_queue.push(&to_protocol::event(EVENT_CONNECTION, id, EVENT_INVALID, &why));
                if let Ok(id) = ConnectionId::parse(id) {
                    return self.reject_data(server, id, &message.payload, &why).await;
                }
            }
            (34, [invocation_id, connection_id, caller_server_id, ..]) => {
                self.reject_invocation(server, invocation_id, connection_id, caller_server_id, &why);
            }
            (35, [invocation, id, ..]) => {
                if let Ok(id) = ConnectionId::parse(id) {
                    self.complete(server, invocation, id, None, Err(Some(why.as_str().into())));
                }
            }
            _ => {
                let (object, id) = (EVENT_SERVER_CONNECTION, &server.name);
                server.send_queue.push(&to_protocol::event(object, id, EVENT_INVALID, &why));
            }
        }
        Ok(())
    }

    /// Completes the client's invocation with an error, where the message was its completion.
    async fn reject_data(
        &self,
        server: &Arc<ServerConnection>,
        id: ConnectionId,
        payload: &[u8],
        why: &str,
    ) -> Result<(), Stopped> {
        let Some(client) = self.client(&server.hub, id) else { return Ok(()) };
        let Some((protocol, is_between)) = client.stream_position(server) else { return Ok(()) };
        if !is_between {
            // The end of the rejected message is unknown, so later bytes cannot be split.
            return self.close_unreadable(server, &client, id, why).await;
        }
        let Some(invocation) = completed(protocol, payload) else { return Ok(()) };
        client.invocation_completed(&invocation);
        let message = OutgoingMessage::completion_error(&invocation, why);
        self.publish(server, publish(server, Target::Connection(id), message)).await
    }
}

/// The invocation id of a completion of which only the beginning is available.
fn completed(protocol: HubProtocol, started: &[u8]) -> Option<String> {
    if protocol == HubProtocol::Json {
        let id = started.strip_prefix(JSON_COMPLETION)?;
        return serde_json::Deserializer::from_slice(id).into_iter::<String>().next()?.ok();
    }
    let (_, prefix) = length_prefix(started).ok()??;
    // Without headers, as ASP.NET Core writes it.
    let [0x94 | 0x95, 3, 0x80, id @ ..] = started.get(prefix..)? else { return None };
    let id = match id {
        [head @ 0xa0..=0xbf, rest @ ..] => rest.get(..usize::from(head & 0x1f))?,
        [0xd9, length, rest @ ..] => rest.get(..usize::from(*length))?,
        _ => return None,
    };
    std::str::from_utf8(id).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invocation_id_is_found_in_the_beginning_of_a_completion() {
        let check = |protocol, started: &[u8], expected: Option<&str>| {
            assert_eq!(completed(protocol, started).as_deref(), expected, "{started:?}");
        };
        check(HubProtocol::Json, br#"{"type":3,"invocationId":"a\"7","result":"xxx"#, Some("a\"7"));
        check(HubProtocol::Json, br#"{"type":3,"invocationId":"a"#, None);
        check(HubProtocol::Json, br#"{"type":1,"target":"a","arguments":["xxx"#, None);
        check(HubProtocol::MessagePack, b"\xff\xff\x7f\x95\x03\x80\xa17\x03xxx", Some("7"));
        check(HubProtocol::BlazorPack, b"\xff\xff\x7f\x95\x03\x80\xd9\x0278\x03xxx", Some("78"));
        check(HubProtocol::MessagePack, b"\xff\xff\x7f\x96\x01\x80\xc0", None);
        check(HubProtocol::MessagePack, b"\xff\xff\x7f\x95\x03\x80\xbf7", None);
    }
}
