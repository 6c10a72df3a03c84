//! The body of a send request, in its two forms, as a message for the engine.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use signalr_protocol::{
    DEPTH_MAX, HubMessage, HubProtocol, Invocation, TranscodeError, json_depth, next_message, parse,
    parse_payloads,
};

use crate::engine::OutgoingMessage;
use crate::error::{Refusal, SendError};

/// Builds a message from a method and the text of a JSON array, checked so that no shard can fail to encode it.
pub(crate) fn invocation(target: &str, arguments: &str) -> Result<OutgoingMessage, SendError> {
    if target.is_empty() {
        return Err(SendError::NoTarget);
    }
    let message = OutgoingMessage::invocation(target, arguments)?;
    if json_depth(arguments.as_bytes()) > DEPTH_MAX {
        return Err(SendError::Depth);
    }
    Ok(message)
}

/// Refuses a body that is compressed: a small one may hold gigabytes, no SDK sends one, and nothing else here would say what it is.
pub(crate) fn refuse_compressed(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.all(|encoding| encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let message = "the body is compressed; send it without content-encoding";
    let refusal = Refusal::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message);
    // What would be taken instead (RFC 9110, 15.5.16).
    Err(refusal.with(ACCEPT_ENCODING, HeaderValue::from_static("identity")))
}

/// Reads the body of a send request by its content type.
pub(crate) fn outgoing_message(headers: &HeaderMap, body: &Bytes) -> Result<OutgoingMessage, Refusal> {
    let content_type = match headers.get(CONTENT_TYPE) {
        Some(value) => value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim(),
        None => "application/json",
    };
    if ["application/json", "text/json"].iter().any(|json| content_type.eq_ignore_ascii_case(json)) {
        from_json(body)
    } else if content_type.eq_ignore_ascii_case("application/octet-stream") {
        from_payloads(body)
    } else {
        let message = "the content type of a message is application/json or application/octet-stream";
        Err(Refusal::new(http::StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message))
    }
}

fn from_json(body: &[u8]) -> Result<OutgoingMessage, Refusal> {
    let payload: Payload<'_> = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not {{\"target\": ..., \"arguments\": [...]}}: {error}");
        Refusal::bad_request("InvalidBody", message)
    })?;
    if payload.has_raw_bytes {
        return Err(Refusal::not_yet("a message of rawBytes"));
    }
    let target = payload.target.unwrap_or_default();
    let arguments = payload.arguments.map_or("[]", RawValue::get);
    invocation(&target, arguments).map_err(|error| Refusal::bad_request("InvalidBody", error.to_string()))
}

/// Clients get the bytes that the sender encoded. Where it encoded for one protocol only, the engine makes the other from it, which is
/// proved possible here: a shard could not refuse it any more.
fn from_payloads(body: &Bytes) -> Result<OutgoingMessage, Refusal> {
    let refused = |message: String| Refusal::bad_request("InvalidBody", message);
    let payloads = parse_payloads(body).map_err(|error| refused(error.to_string()))?;
    let (mut json, mut messagepack, mut blazorpack) = (None, None, None);
    for (protocol, framed) in &payloads {
        let invocation = checked(*protocol, framed).map_err(refused)?;
        if payloads.len() == 1 {
            translatable(*protocol, &invocation).map_err(|error| refused(error.to_string()))?;
        }
        let ready = Some(body.slice_ref(framed));
        match protocol {
            HubProtocol::Json => json = ready,
            HubProtocol::MessagePack => messagepack = ready,
            HubProtocol::BlazorPack => blazorpack = ready,
        }
    }
    Ok(OutgoingMessage::ready(json, messagepack, blazorpack))
}

fn translatable(from: HubProtocol, invocation: &Invocation<'_>) -> Result<(), TranscodeError> {
    match from {
        HubProtocol::Json if json_depth(&invocation.arguments) > DEPTH_MAX => Err(TranscodeError::Depth),
        HubProtocol::Json => Ok(()),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            invocation.encode_json_from_msgpack(&mut Vec::new())
        }
    }
}

/// A framed message that is a call without an answer: anything else would confuse the clients it reaches.
fn checked(protocol: HubProtocol, framed: &[u8]) -> Result<Invocation<'_>, String> {
    let name = protocol.name();
    let payload = next_message(protocol, framed, framed.len()).ok().flatten();
    let (payload, _) = payload.ok_or_else(|| format!("the '{name}' message is not framed"))?;
    match parse(protocol, payload).map_err(|error| format!("the '{name}' message: {error}"))? {
        HubMessage::Invocation(invocation) if invocation.invocation_id.is_none() => Ok(invocation),
        _ => Err(format!("the '{name}' message is not an invocation without an id")),
    }
}

/// The JSON form. The SDK writes `Target` and `Arguments`, others write them small; both mean the same.
#[derive(Default)]
struct Payload<'a> {
    target: Option<String>,
    arguments: Option<&'a RawValue>,
    has_raw_bytes: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Payload<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PayloadVisitor;
        impl<'de> Visitor<'de> for PayloadVisitor {
            type Value = Payload<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with target and arguments")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload<'de>, A::Error> {
                let mut payload = Payload::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name.eq_ignore_ascii_case("target") {
                        payload.target = map.next_value()?;
                    } else if name.eq_ignore_ascii_case("arguments") {
                        payload.arguments = map.next_value()?;
                    } else {
                        let value: &RawValue = map.next_value()?;
                        payload.has_raw_bytes |=
                            name.eq_ignore_ascii_case("rawBytes") && value.get() != "null";
                    }
                }
                Ok(payload)
            }
        }
        deserializer.deserialize_map(PayloadVisitor)
    }
}
