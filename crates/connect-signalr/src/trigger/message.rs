//! The body of a request, which is a hub message without its framing, and the framed completion that answers it. Pure.

use bytes::Bytes;
use functions_contract::Value;
use http::HeaderMap;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use signalr_protocol::{
    Completion, CompletionResult, HubMessage, HubProtocol, ParseError, TranscodeError, json_to_msgpack,
    msgpack_to_json, parse,
};

use super::headers::media_type;

pub(super) const JSON: &str = "application/json";
pub(super) const MESSAGEPACK: &str = "application/x-msgpack";

/// An invocation of a client.
#[derive(Debug)]
pub(super) struct ParsedInvocation {
    pub(super) protocol: HubProtocol,
    /// Present if the client waits for a completion.
    pub(super) id: Option<String>,
    pub(super) target: String,
    /// The arguments, as the text of a JSON array.
    pub(super) arguments: Vec<u8>,
}

/// Why a body is not an invocation.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParseInvocationError {
    #[error("The body is not a hub message: {0}.")]
    Message(#[from] ParseError),
    #[error("The message is not an invocation: streams are not supported by signalRTrigger.")]
    NotAnInvocation,
    #[error("The arguments have no form in JSON: {0}.")]
    Arguments(#[from] TranscodeError),
}

impl ParsedInvocation {
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, ParseInvocationError> {
        let protocol =
            if media_type(headers) == MESSAGEPACK { HubProtocol::MessagePack } else { HubProtocol::Json };
        let HubMessage::Invocation(invocation) = parse(protocol, body)? else {
            return Err(ParseInvocationError::NotAnInvocation);
        };
        let arguments = if protocol == HubProtocol::MessagePack {
            let mut json = Vec::new();
            msgpack_to_json(&invocation.arguments, &mut json)?;
            json
        } else {
            invocation.arguments.into_owned()
        };
        let id = invocation.invocation_id.filter(|id| !id.is_empty());
        Ok(Self {
            protocol,
            id: id.map(std::borrow::Cow::into_owned),
            target: invocation.target.into_owned(),
            arguments,
        })
    }

    /// The arguments one by one; text as text.
    pub(super) fn argument_values(&self) -> Vec<Value> {
        let arguments: Vec<&RawValue> = serde_json::from_slice(&self.arguments).unwrap_or_default();
        let value = |argument: &RawValue| match argument.get() {
            "null" => Value::Null,
            json => match serde_json::from_str::<String>(json) {
                Ok(text) => Value::Text(text.into()),
                Err(_) => Value::Json(json.into()),
            },
        };
        arguments.into_iter().map(value).collect()
    }
}

/// The error in the body of a `disconnected` event, whose names come in any case.
pub(super) fn close_error(body: &[u8]) -> Option<String> {
    let Ok(Json::Object(message)) = serde_json::from_slice(body) else { return None };
    functions_contract::find_property(&message, "error")?.as_str().map(str::to_owned)
}

/// What the function returned, in the encoding of the client.
pub(super) fn encoded(value: &Value, protocol: HubProtocol) -> Result<Vec<u8>, TranscodeError> {
    let json = match value {
        Value::Json(json) => json.as_bytes().to_vec(),
        other => json_of(other).to_string().into_bytes(),
    };
    if protocol == HubProtocol::MessagePack {
        let mut encoded = Vec::new();
        json_to_msgpack(&json, &mut encoded)?;
        return Ok(encoded);
    }
    signalr_protocol::check_json(&json).map(|()| json)
}

fn json_of(value: &Value) -> Json {
    use base64::Engine as _;
    match value {
        Value::Text(text) => Json::from(text.as_ref() as &str),
        Value::Json(json) => serde_json::from_str(json).unwrap_or(Json::Null),
        // As .NET writes bytes in JSON.
        Value::Bytes(bytes) => Json::from(base64::engine::general_purpose::STANDARD.encode(bytes)),
        Value::Integer(number) => Json::from(*number),
        Value::Double(number) => Json::from(*number),
        Value::Many(items) => items.iter().map(json_of).collect(),
        Value::Null | Value::Deferred(_) => Json::Null,
    }
}

/// A framed completion.
pub(super) fn completion(id: &str, result: CompletionResult<'_>, protocol: HubProtocol) -> Bytes {
    let message = Completion { headers: Vec::new(), invocation_id: id.into(), result };
    let mut framed = Vec::new();
    HubMessage::Completion(message).encode(protocol, &mut framed);
    framed.into()
}
