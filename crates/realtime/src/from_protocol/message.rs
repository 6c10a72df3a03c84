//! Parses the body of a send or an invocation, in all its formats, into a message for the engine.
//!
//! | content type | format |
//! |---|---|
//! | `application/json` | `{"target", "arguments"}`, names in any case; and `rawBytes`, messages framed by the sender, by protocol, in base64 |
//! | `application/x-msgpack` | the same in MessagePack |
//! | `application/octet-stream` | a MessagePack map of protocol to framed message |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use signalr_protocol::{
    HubMessage, HubProtocol, Invocation, TranscodeError, check_json, next_message, parse, parse_message,
    parse_payloads,
};

use super::fields::{Fields, FieldsError, Pair, json_text};
use crate::error_table;
use crate::rejection::Rejection;
use realtime_engine::{InvalidArguments, OutgoingMessage, is_reserved_method};

/// Why a method and its arguments are not a valid invocation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidInvocation {
    #[error("the message has no target; name the client method to call")]
    NoTarget,
    #[error(transparent)]
    Arguments(#[from] InvalidArguments),
}

/// Builds an invocation from a method and the text of a JSON array. The array is checked here, because a shard must be able to
/// encode it.
pub(crate) fn invocation(target: &str, arguments: &str) -> Result<OutgoingMessage, InvalidInvocation> {
    if target.is_empty() {
        return Err(InvalidInvocation::NoTarget);
    }
    Ok(OutgoingMessage::invocation(target, arguments)?)
}

/// Rejects a compressed body: a small one may expand to gigabytes, and no SDK sends one.
pub(crate) fn refuse_compressed(headers: &HeaderMap) -> Result<(), Rejection> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.all(|encoding| encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let message = "the body is compressed; send it without content-encoding";
    let rejection = Rejection::new(&error_table::UNSUPPORTED_MEDIA_TYPE, message);
    // The accepted encoding (RFC 9110, 15.5.16).
    Err(rejection.with(ACCEPT_ENCODING, HeaderValue::from_static("identity")))
}

/// The shape of an invocation in JSON.
const SHAPE: &str = r#"{"target": ..., "arguments": [...]}"#;

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    MessagePack,
    ByProtocol,
}

impl Form {
    /// The format by the content type; a body without one is JSON.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Rejection> {
        let content_type = match headers.get(CONTENT_TYPE) {
            Some(value) => value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim(),
            None => "application/json",
        };
        let is = |name: &str| content_type.eq_ignore_ascii_case(name);
        if is("application/json") || is("text/json") {
            Ok(Self::Json)
        } else if is("application/x-msgpack") {
            Ok(Self::MessagePack)
        } else if is("application/octet-stream") {
            Ok(Self::ByProtocol)
        } else {
            let message = "the content type of a message is application/json, application/x-msgpack or application/octet-stream";
            Err(Rejection::new(&error_table::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

/// An invocation of a client method, parsed and checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Payload {
    /// Not encoded: the arguments are the text of a JSON array.
    Call { target: String, arguments: Box<str> },
    /// Encoded by the sender for some of the protocols. A missing encoding can be made from another one; that was checked.
    Framed { json: Option<Bytes>, messagepack: Option<Bytes>, blazorpack: Option<Bytes> },
}

impl Payload {
    /// Parses a body by its content type.
    pub(crate) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, Rejection> {
        match Form::of(headers)? {
            Form::Json => Self::from_json(body),
            Form::MessagePack => Self::from_messagepack(body),
            Form::ByProtocol => Self::from_payloads(body),
        }
    }

    /// The invocation without a result.
    pub(crate) fn message(self) -> Result<OutgoingMessage, Rejection> {
        match self {
            Self::Call { target, arguments } => {
                invocation(&target, &arguments).map_err(|error| invalid(error.to_string()))
            }
            Self::Framed { json, messagepack, blazorpack } => {
                Ok(OutgoingMessage::ready(json, messagepack, blazorpack))
            }
        }
    }

    /// The invocation whose result is awaited under this id.
    pub(crate) fn call(self, invocation_id: &str) -> Result<OutgoingMessage, Rejection> {
        match self {
            Self::Call { target, arguments } => {
                if target.is_empty() {
                    return Err(invalid(InvalidInvocation::NoTarget.to_string()));
                }
                let message = OutgoingMessage::call(Some(invocation_id), &target, &arguments);
                message.map_err(|error| invalid(error.to_string()))
            }
            Self::Framed { json, messagepack, blazorpack } => {
                let with_id = |protocol, framed: Option<Bytes>| {
                    framed
                        .map(|framed| with_id(protocol, &framed, invocation_id))
                        .transpose()
                        .map_err(invalid)
                };
                let json = with_id(HubProtocol::Json, json)?;
                let messagepack = with_id(HubProtocol::MessagePack, messagepack)?;
                let blazorpack = with_id(HubProtocol::BlazorPack, blazorpack)?;
                Ok(OutgoingMessage::ready(json, messagepack, blazorpack))
            }
        }
    }

    fn from_json(body: &[u8]) -> Result<Self, Rejection> {
        let payload = json_text(body).map_err(PayloadError::Shape).and_then(Self::from_json_value);
        payload.map_err(|error| match error {
            PayloadError::Shape(error) => invalid(format!("the body is not {SHAPE}: {error}")),
            PayloadError::Message(message) => invalid(message),
        })
    }

    /// Parses the JSON format within a larger JSON value.
    pub(super) fn from_json_value(json: &str) -> Result<Self, PayloadError> {
        let fields = Fields::parse(json)?;
        let target = fields.string("target")?.unwrap_or_default().into_owned();
        let arguments = fields.raw("arguments").unwrap_or("[]");
        let raw = fields.strings("rawBytes")?.filter(|raw| !raw.is_empty());
        let raw_only = fields.boolean("rawOnly")?.unwrap_or(false);
        let Some(raw) = raw else { return Ok(Self::Call { target, arguments: arguments.into() }) };
        let framed = Self::from_raw_bytes(raw).map_err(PayloadError::Message)?;
        if raw_only {
            Ok(framed)
        } else {
            framed.completed(&target, arguments).map_err(PayloadError::Message)
        }
    }

    fn from_raw_bytes(raw: Vec<Pair<'_>>) -> Result<Self, String> {
        let mut payloads = Vec::new();
        for (name, text) in raw {
            let Some(protocol) = HubProtocol::from_name(&name) else { continue };
            let framed =
                STANDARD.decode(&*text).map_err(|_| format!("rawBytes of '{name}' is not base64"))?;
            payloads.push((protocol, Bytes::from(framed)));
        }
        Self::framed(payloads)
    }

    /// Adds the encodings that the sender omitted, from its target and arguments.
    fn completed(self, target: &str, arguments: &str) -> Result<Self, String> {
        let Self::Framed { json, messagepack, blazorpack } = self else { return Ok(self) };
        if json.is_some() && messagepack.is_some() {
            return Ok(Self::Framed { json, messagepack, blazorpack });
        }
        // Only its checks are needed here.
        let _ = invocation(target, arguments).map_err(|error| error.to_string())?;
        let call = Invocation::new(target, arguments.as_bytes());
        let json = json.unwrap_or_else(|| {
            let mut out = Vec::new();
            call.encode_json(&mut out);
            out.into()
        });
        let messagepack = match messagepack {
            Some(messagepack) => messagepack,
            None => {
                let mut out = Vec::new();
                call.encode_msgpack_from_json(&mut out).map_err(|error| error.to_string())?;
                out.into()
            }
        };
        Ok(Self::Framed { json: Some(json), messagepack: Some(messagepack), blazorpack })
    }

    fn from_messagepack(body: &Bytes) -> Result<Self, Rejection> {
        // The SDKs send MessagePack as octet-stream too, and some callers use that content type.
        if let Ok(payloads) = parse_payloads(body) {
            return Self::framed(slices(body, &payloads)).map_err(invalid);
        }
        let message = parse_message(body).map_err(|error| invalid(error.to_string()))?;
        if message.target.is_empty() {
            return Err(invalid(InvalidInvocation::NoTarget.to_string()));
        }
        let mut framed = Vec::new();
        message.encode_msgpack(&mut framed);
        Self::framed(vec![(HubProtocol::MessagePack, framed.into())]).map_err(invalid)
    }

    fn from_payloads(body: &Bytes) -> Result<Self, Rejection> {
        let payloads = parse_payloads(body).map_err(|error| invalid(error.to_string()))?;
        Self::framed(slices(body, &payloads)).map_err(invalid)
    }

    /// Clients receive the bytes that the sender encoded. If it encoded for one protocol only, the engine encodes for the other;
    /// that this is possible is checked here, because a shard could not reject the message.
    fn framed(payloads: Vec<(HubProtocol, Bytes)>) -> Result<Self, String> {
        let (mut json, mut messagepack, mut blazorpack) = (None, None, None);
        for (protocol, framed) in payloads {
            checked(protocol, &framed)?;
            match protocol {
                HubProtocol::Json => json = Some(framed),
                HubProtocol::MessagePack => messagepack = Some(framed),
                HubProtocol::BlazorPack => blazorpack = Some(framed),
            }
        }
        // If one of the two is missing, it is made from the other.
        match (&json, &messagepack) {
            (Some(json), None) => translatable(HubProtocol::Json, &checked(HubProtocol::Json, json)?),
            (None, Some(messagepack)) => {
                translatable(HubProtocol::MessagePack, &checked(HubProtocol::MessagePack, messagepack)?)
            }
            _ => Ok(()),
        }
        .map_err(|error| error.to_string())?;
        if json.is_none() && messagepack.is_none() && blazorpack.is_none() {
            return Err("the body has no message for 'json' or 'messagepack'".to_owned());
        }
        Ok(Self::Framed { json, messagepack, blazorpack })
    }
}

/// Why a JSON value is not an invocation of a client method.
#[derive(Debug)]
pub(super) enum PayloadError {
    Shape(FieldsError),
    Message(String),
}

impl From<FieldsError> for PayloadError {
    fn from(error: FieldsError) -> Self {
        Self::Shape(error)
    }
}

impl std::fmt::Display for PayloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shape(error) => write!(f, "it is not {SHAPE}: {error}"),
            Self::Message(message) => f.write_str(message),
        }
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Rejection {
    Rejection::new(&error_table::INVALID_BODY, message)
}

/// The messages of a body, as slices of its bytes.
pub(super) fn slices(body: &Bytes, payloads: &[(HubProtocol, &[u8])]) -> Vec<(HubProtocol, Bytes)> {
    payloads.iter().map(|(protocol, framed)| (*protocol, body.slice_ref(framed))).collect()
}

fn translatable(from: HubProtocol, invocation: &Invocation<'_>) -> Result<(), TranscodeError> {
    match from {
        HubProtocol::Json => check_json(&invocation.arguments),
        // BlazorPack is never translated.
        HubProtocol::BlazorPack => Ok(()),
        HubProtocol::MessagePack => invocation.encode_json_from_msgpack(&mut Vec::new()),
    }
}

/// The only message in `framed`.
fn unframed(protocol: HubProtocol, framed: &[u8]) -> Result<HubMessage<'_>, String> {
    let name = protocol.name();
    match next_message(protocol, framed, framed.len()) {
        Ok(Some((payload, used))) if used == framed.len() => {
            parse(protocol, payload).map_err(|error| format!("the '{name}' message: {error}"))
        }
        _ => Err(format!("the '{name}' message is not one framed hub message")),
    }
}

/// A framed message that is an invocation without an id: any other message would confuse the clients.
fn checked(protocol: HubProtocol, framed: &[u8]) -> Result<Invocation<'_>, String> {
    match unframed(protocol, framed)? {
        HubMessage::Invocation(invocation) if is_reserved_method(&invocation.target) => {
            Err(InvalidArguments::ReservedMethod.to_string())
        }
        HubMessage::Invocation(invocation) if invocation.invocation_id.is_none() => Ok(invocation),
        _ => Err(format!("the '{}' message is not an invocation without an id", protocol.name())),
    }
}

/// The same invocation, with an id under which its result is awaited.
fn with_id(protocol: HubProtocol, framed: &[u8], invocation_id: &str) -> Result<Bytes, String> {
    let mut invocation = checked(protocol, framed)?;
    invocation.invocation_id = Some(invocation_id.into());
    let mut out = Vec::with_capacity(framed.len() + invocation_id.len() + 24);
    HubMessage::Invocation(invocation).encode(protocol, &mut out);
    Ok(out.into())
}
