//! [`TooLong`]: a message of an app server that is longer than may be. It is refused, and whoever waits for something because of it hears
//! so: a client for the result of its call, a server for that of its own, or for an ack. Everything else is told by an event.

use std::sync::Arc;

use signalr_protocol::service::{AckStatus, parse_prefix};
use signalr_protocol::{HubProtocol, length_prefix};

use super::execute::publish;
use super::link::Link;
use super::order::{EVENT_CONNECTION, EVENT_INVALID, EVENT_SERVER_CONNECTION};
use super::{Servers, to_protocol};
use crate::engine::{ConnectionId, OutgoingMessage, Stopped, Target};

/// How the JSON of a completion begins, as .NET writes it, with the invocation id behind.
const JSON_COMPLETION: &[u8] = b"{\"type\":3,\"invocationId\":";

/// What is known of such a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TooLong {
    bytes: usize,
    bytes_max: u32,
    kind: u64,
    texts: Vec<Box<str>>,
    number: Option<u64>,
    payload: Box<[u8]>,
}

impl TooLong {
    /// From the beginning of a message of so many bytes.
    pub(crate) fn new(begun: &[u8], bytes: usize, bytes_max: u32) -> Self {
        match parse_prefix(begun) {
            Some(read) => Self {
                bytes,
                bytes_max,
                kind: read.kind,
                texts: read.texts.into_iter().map(Into::into).collect(),
                number: read.number,
                payload: read.bytes.into(),
            },
            None => {
                let (texts, payload) = (Vec::new(), Box::default());
                Self { bytes, bytes_max, kind: 0, texts, number: None, payload }
            }
        }
    }

    /// The id of the ack that answers it, where it asks for one.
    fn ack(&self) -> Option<i32> {
        let asks = matches!(self.kind, 18 | 19 | 21 | 23..=27 | 30..=33);
        self.number.filter(|_| asks).and_then(|number| i32::try_from(number).ok())
    }

    fn why(&self) -> String {
        let Self { bytes, bytes_max, kind, .. } = self;
        format!(
            "a message of type {kind} with {bytes} bytes was not taken: servers.message_bytes_max is {bytes_max}"
        )
    }
}

impl Servers {
    /// Refuses a message.
    pub(super) async fn refuse(&self, link: &Arc<Link>, refused: TooLong) -> Result<(), Stopped> {
        let why = refused.why();
        self.metrics().refused();
        tracing::warn!(hub = %link.hub, server = %link.server, why, "a message of an app server is too long");
        let texts: Vec<&str> = refused.texts.iter().map(|text| &**text).collect();
        if let Some(ack_id) = refused.ack() {
            link.outbox.push(&to_protocol::ack(ack_id, AckStatus::InternalServerError, &why, None));
            return Ok(());
        }
        match (refused.kind, &texts[..]) {
            (6, [id, ..]) => {
                link.outbox.push(&to_protocol::event(EVENT_CONNECTION, id, EVENT_INVALID, &why));
                if let Ok(id) = ConnectionId::parse(id) {
                    return self.refuse_data(link, id, &refused.payload, &why).await;
                }
            }
            (34, [invocation_id, connection_id, caller_server_id, ..]) => {
                self.refuse_call(link, invocation_id, connection_id, caller_server_id, &why);
            }
            (35, [invocation, id, ..]) => {
                if let Ok(id) = ConnectionId::parse(id) {
                    self.complete(link, invocation, id, None, Err(Some(why.as_str().into())));
                }
            }
            _ => {
                let (object, id) = (EVENT_SERVER_CONNECTION, &link.connection);
                link.outbox.push(&to_protocol::event(object, id, EVENT_INVALID, &why));
            }
        }
        Ok(())
    }

    /// Tells a client that the result of its call will not come.
    async fn refuse_data(
        &self,
        link: &Arc<Link>,
        id: ConnectionId,
        payload: &[u8],
        why: &str,
    ) -> Result<(), Stopped> {
        let Some(client) = self.client(&link.hub, id) else { return Ok(()) };
        let Some((protocol, is_between)) = client.position(link) else { return Ok(()) };
        if !is_between {
            // What follows cannot be told apart from the rest of what was refused.
            return self.broken(link, &client, id, why).await;
        }
        let Some(invocation) = completed(protocol, payload) else { return Ok(()) };
        client.answered(&invocation);
        let message = OutgoingMessage::completion_error(&invocation, why);
        self.publish(link, publish(link, Target::Connection(id), message)).await
    }
}

/// The invocation that a completion answers of which only the beginning is there.
fn completed(protocol: HubProtocol, begun: &[u8]) -> Option<String> {
    if protocol == HubProtocol::Json {
        let id = begun.strip_prefix(JSON_COMPLETION)?;
        return serde_json::Deserializer::from_slice(id).into_iter::<String>().next()?.ok();
    }
    let (_, prefix) = length_prefix(begun).ok()??;
    // Without headers, as the server of ASP.NET Core writes it.
    let [0x94 | 0x95, 3, 0x80, id @ ..] = begun.get(prefix..)? else { return None };
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
    fn the_call_that_a_completion_answers_is_found_in_its_beginning() {
        let check = |protocol, begun: &[u8], expected: Option<&str>| {
            assert_eq!(completed(protocol, begun).as_deref(), expected, "{begun:?}");
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
