//! Hub messages as JSON. Property order is free, unknown properties are ignored ("JSON Hub Protocol Encoding").

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::framing::{finish_frame, write_frame_start};
use crate::message::{
    CancelInvocation, Close, Completion, CompletionResult, Headers, HubMessage, Invocation, MessageKind,
    ParseError, Peek, Sequenced, StreamItem,
};
use crate::{HubProtocol, TranscodeError, transcode};

/// Every property of every message; which of them must be there depends on the type.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    r#type: Option<u64>,
    #[serde(borrow, default)]
    headers: WireHeaders<'a>,
    #[serde(borrow)]
    invocation_id: Option<Text<'a>>,
    #[serde(borrow)]
    target: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_ids: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    item: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<Text<'a>>,
    allow_reconnect: Option<bool>,
    sequence_id: Option<u64>,
}

/// The properties that routing needs. serde steps over the others without keeping them.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePeek<'a> {
    r#type: Option<u64>,
    #[serde(borrow)]
    invocation_id: Option<Text<'a>>,
    #[serde(borrow)]
    target: Option<Text<'a>>,
}

/// A string that borrows where it can: serde's own `Option<Cow<str>>` never does.
struct Text<'a>(Cow<'a, str>);

/// Headers in their order.
#[derive(Default)]
struct WireHeaders<'a>(Headers<'a>);

pub(crate) fn parse(payload: &[u8]) -> Result<HubMessage<'_>, ParseError> {
    let wire: Wire<'_> = from_object(payload).map_err(ParseError::Json)?;
    let number = wire.r#type.ok_or(ParseError::Missing("type"))?;
    Ok(match MessageKind::from(number) {
        MessageKind::Invocation => HubMessage::Invocation(wire.invocation()?),
        MessageKind::StreamInvocation => {
            let invocation = wire.invocation()?;
            if invocation.invocation_id.is_none() {
                return Err(ParseError::Missing("invocationId"));
            }
            HubMessage::StreamInvocation(invocation)
        }
        MessageKind::StreamItem => {
            let item = raw(wire.item.ok_or(ParseError::Missing("item"))?);
            let (headers, invocation_id) = wire.id()?;
            HubMessage::StreamItem(StreamItem { headers, invocation_id, item })
        }
        MessageKind::Completion => HubMessage::Completion(wire.completion()?),
        MessageKind::CancelInvocation => {
            let (headers, invocation_id) = wire.id()?;
            HubMessage::CancelInvocation(CancelInvocation { headers, invocation_id })
        }
        MessageKind::Ping => HubMessage::Ping,
        MessageKind::Close => HubMessage::Close(Close {
            error: wire.error.map(|text| text.0),
            allow_reconnect: wire.allow_reconnect.unwrap_or(false),
        }),
        MessageKind::Ack => HubMessage::Ack(wire.sequenced()?),
        MessageKind::Sequence => HubMessage::Sequence(wire.sequenced()?),
        MessageKind::Unknown(number) => HubMessage::Unknown(number),
    })
}

pub(crate) fn peek(payload: &[u8]) -> Result<Peek<'_>, ParseError> {
    let wire: WirePeek<'_> = from_object(payload).map_err(ParseError::Json)?;
    Ok(Peek {
        kind: wire.r#type.ok_or(ParseError::Missing("type"))?.into(),
        invocation_id: wire.invocation_id.map(|text| text.0),
        target: wire.target.map(|text| text.0),
    })
}

/// The first element of an array.
pub(crate) fn first_element(array: &[u8]) -> Option<&[u8]> {
    let elements: Vec<&RawValue> = serde_json::from_slice(array).ok()?;
    Some(elements.first()?.get().as_bytes())
}

/// Reads an object. What serde derives would take an array as well, by position: a message to some readers and none to others.
/// And what it steps over it does not check for UTF-8, which whoever gets the message next relies on.
pub(crate) fn from_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    let begin = json.iter().find(|byte| !byte.is_ascii_whitespace());
    if begin != Some(&b'{') {
        return Err(serde::de::Error::custom("an object is expected"));
    }
    let text = std::str::from_utf8(json).map_err(|_| serde::de::Error::custom("the text is not UTF-8"))?;
    serde_json::from_str(text)
}

impl<'a> Wire<'a> {
    fn invocation(self) -> Result<Invocation<'a>, ParseError> {
        let arguments = self.arguments.ok_or(ParseError::Missing("arguments"))?;
        if !arguments.get().starts_with('[') {
            return Err(ParseError::Missing("arguments"));
        }
        Ok(Invocation {
            headers: self.headers.0,
            invocation_id: self.invocation_id.map(|text| text.0),
            target: self.target.ok_or(ParseError::Missing("target"))?.0,
            arguments: raw(arguments),
            stream_ids: self.stream_ids.unwrap_or_default().into_iter().map(|text| text.0).collect(),
        })
    }

    fn completion(self) -> Result<Completion<'a>, ParseError> {
        let result = match (self.result, self.error) {
            (Some(_), Some(_)) => return Err(ParseError::ResultAndError),
            (Some(result), None) => CompletionResult::Value(raw(result)),
            (None, Some(error)) => CompletionResult::Error(error.0),
            (None, None) => CompletionResult::Void,
        };
        let invocation_id = self.invocation_id.ok_or(ParseError::Missing("invocationId"))?.0;
        Ok(Completion { headers: self.headers.0, invocation_id, result })
    }

    fn id(self) -> Result<(Headers<'a>, Cow<'a, str>), ParseError> {
        let invocation_id = self.invocation_id.ok_or(ParseError::Missing("invocationId"))?.0;
        Ok((self.headers.0, invocation_id))
    }

    fn sequenced(&self) -> Result<Sequenced, ParseError> {
        let sequence_id = self.sequence_id.ok_or(ParseError::Missing("sequenceId"))?;
        Ok(Sequenced { sequence_id })
    }
}

pub(crate) fn encode(message: &HubMessage<'_>, out: &mut Vec<u8>) {
    match message {
        HubMessage::Invocation(invocation) => encode_invocation(1, invocation, out),
        HubMessage::StreamInvocation(invocation) => encode_invocation(4, invocation, out),
        HubMessage::Unknown(_) => {}
        HubMessage::StreamItem(StreamItem { headers, invocation_id, item }) => framed(out, |out| {
            begin(2, headers, Some(invocation_id), out);
            out.extend_from_slice(b",\"item\":");
            out.extend_from_slice(item);
        }),
        HubMessage::Completion(Completion { headers, invocation_id, result }) => framed(out, |out| {
            begin(3, headers, Some(invocation_id), out);
            match result {
                CompletionResult::Void => {}
                CompletionResult::Error(error) => property("error", error, out),
                CompletionResult::Value(value) => {
                    out.extend_from_slice(b",\"result\":");
                    out.extend_from_slice(value);
                }
            }
        }),
        HubMessage::CancelInvocation(CancelInvocation { headers, invocation_id }) => {
            framed(out, |out| begin(5, headers, Some(invocation_id), out));
        }
        HubMessage::Ping => framed(out, |out| begin(6, &Vec::new(), None, out)),
        HubMessage::Close(Close { error, allow_reconnect }) => framed(out, |out| {
            begin(7, &Vec::new(), None, out);
            if let Some(error) = error {
                property("error", error, out);
            }
            if *allow_reconnect {
                out.extend_from_slice(b",\"allowReconnect\":true");
            }
        }),
        HubMessage::Ack(Sequenced { sequence_id }) => numbered(8, *sequence_id, out),
        HubMessage::Sequence(Sequenced { sequence_id }) => numbered(9, *sequence_id, out),
    }
}

pub(crate) fn encode_invocation(kind: u8, invocation: &Invocation<'_>, out: &mut Vec<u8>) {
    framed(out, |out| {
        begin_invocation(kind, invocation, out);
        out.extend_from_slice(&invocation.arguments);
        end_invocation(invocation, out);
    });
}

pub(crate) fn encode_invocation_from_msgpack(
    kind: u8,
    invocation: &Invocation<'_>,
    out: &mut Vec<u8>,
) -> Result<(), TranscodeError> {
    let before = out.len();
    let mut outcome = Ok(());
    framed(out, |out| {
        begin_invocation(kind, invocation, out);
        outcome = transcode::msgpack_to_json(&invocation.arguments, out);
        end_invocation(invocation, out);
    });
    if outcome.is_err() {
        out.truncate(before);
    }
    outcome
}

fn begin_invocation(kind: u8, invocation: &Invocation<'_>, out: &mut Vec<u8>) {
    begin(kind, &invocation.headers, invocation.invocation_id.as_ref(), out);
    property("target", &invocation.target, out);
    out.extend_from_slice(b",\"arguments\":");
}

fn end_invocation(invocation: &Invocation<'_>, out: &mut Vec<u8>) {
    if !invocation.stream_ids.is_empty() {
        out.extend_from_slice(b",\"streamIds\":[");
        for (index, id) in invocation.stream_ids.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(id, out);
        }
        out.push(b']');
    }
}

fn framed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = write_frame_start(HubProtocol::Json, out);
    body(out);
    out.push(b'}');
    finish_frame(&start, out);
}

fn numbered(kind: u8, sequence_id: u64, out: &mut Vec<u8>) {
    framed(out, |out| {
        begin(kind, &Vec::new(), None, out);
        write!(out, ",\"sequenceId\":{sequence_id}").expect("a vector takes every byte");
    });
}

fn begin(kind: u8, headers: &Headers<'_>, invocation_id: Option<&Cow<'_, str>>, out: &mut Vec<u8>) {
    write!(out, "{{\"type\":{kind}").expect("a vector takes every byte");
    if !headers.is_empty() {
        out.extend_from_slice(b",\"headers\":{");
        for (index, (name, value)) in headers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(name, out);
            out.push(b':');
            string(value, out);
        }
        out.push(b'}');
    }
    if let Some(id) = invocation_id {
        property("invocationId", id, out);
    }
}

fn property(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(value, out);
}

fn string(value: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a string is always JSON and a vector takes every byte");
}

fn raw(value: &RawValue) -> Cow<'_, [u8]> {
    Cow::Borrowed(value.get().as_bytes())
}

/// Tells `"result": null` (a value) from no result at all.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WireHeaders<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;
        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = WireHeaders<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_unit<E>(self) -> Result<WireHeaders<'de>, E> {
                Ok(WireHeaders::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireHeaders<'de>, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    headers.push((name.0, value.0));
                }
                Ok(WireHeaders(headers))
            }
        }
        deserializer.deserialize_any(HeadersVisitor)
    }
}
