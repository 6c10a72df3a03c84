//! Hub messages in JSON. Properties may have any order, unknown properties are ignored, and of duplicates the last one is used
//! ("JSON Hub Protocol Encoding"). Error texts are those of ASP.NET Core.

use std::borrow::Cow;
use std::io::Write;

pub(crate) mod reader;
pub(crate) mod text;

use crate::framing::{finish_frame, write_frame_start};
use crate::hub_protocol::HubProtocol;
use crate::message::{
    CancelInvocation, Close, Completion, CompletionResult, Headers, HubMessage, HubMessageType, Invocation,
    Lists, Sequenced, StreamItem,
};
use crate::parse_error::ParseError;
use crate::transcode::{self, TranscodeError};
use reader::{JsonError, JsonReader, JsonToken};

/// The raw properties of all messages. The type decides which of them are required.
#[derive(Default)]
struct Properties<'a> {
    kind: Option<&'a str>,
    headers: Option<&'a str>,
    invocation_id: Option<&'a str>,
    target: Option<&'a str>,
    arguments: Option<&'a str>,
    stream_ids: Option<&'a str>,
    item: Option<&'a str>,
    result: Option<&'a str>,
    error: Option<&'a str>,
    allow_reconnect: Option<&'a str>,
    sequence_id: Option<&'a str>,
    lists: Lists,
}

pub(crate) fn parse(payload: &[u8], lists: Lists) -> Result<HubMessage<'_>, ParseError> {
    let properties = Properties { lists, ..Properties::read(payload)? };
    let number = properties.kind.ok_or(ParseError::Missing("type"))?;
    let number = number.parse::<u64>().map_err(|_| ParseError::Type { name: "type", expected: "Number" })?;
    Ok(match HubMessageType::from(number) {
        HubMessageType::Invocation => HubMessage::Invocation(properties.invocation()?),
        HubMessageType::StreamInvocation => {
            let invocation = properties.invocation()?;
            if invocation.invocation_id.is_none() {
                return Err(ParseError::Missing("invocationId"));
            }
            HubMessage::StreamInvocation(invocation)
        }
        HubMessageType::StreamItem => {
            let (headers, invocation_id) = properties.headers_and_id()?;
            let item = properties.item.ok_or(ParseError::Missing("item"))?.as_bytes().into();
            HubMessage::StreamItem(StreamItem { headers, invocation_id, item })
        }
        HubMessageType::Completion => HubMessage::Completion(properties.completion()?),
        HubMessageType::CancelInvocation => {
            let (headers, invocation_id) = properties.headers_and_id()?;
            HubMessage::CancelInvocation(CancelInvocation { headers, invocation_id })
        }
        HubMessageType::Ping => HubMessage::Ping,
        HubMessageType::Close => HubMessage::Close(Close {
            error: text("error", properties.error)?,
            allow_reconnect: properties.allow_reconnect == Some("true"),
        }),
        HubMessageType::Ack => HubMessage::Ack(properties.sequenced()?),
        HubMessageType::Sequence => HubMessage::Sequence(properties.sequenced()?),
        HubMessageType::Unknown(number) => HubMessage::Unknown(number),
    })
}

/// The first element of an array.
pub(crate) fn first_element(array: &[u8]) -> Option<&[u8]> {
    let mut reader = JsonReader::new(std::str::from_utf8(array).ok()?);
    let is_array = reader.token().ok()? == JsonToken::Array;
    (is_array && reader.element(true).ok()?).then_some(())?;
    reader.raw().ok().map(str::as_bytes)
}

/// Reads an object; calls `each` with the name and the raw value of each member.
pub(crate) fn members<'a>(json: &'a [u8], mut each: impl FnMut(&str, &'a str)) -> Result<(), ParseError> {
    let text = std::str::from_utf8(json).map_err(|_| JsonError::NOT_UTF8)?;
    let mut reader = JsonReader::new(text);
    let found = match reader.token()? {
        JsonToken::Object => None,
        JsonToken::Array => Some("Array"),
        JsonToken::Null => Some("Null"),
        JsonToken::Bool(true) => Some("True"),
        JsonToken::Bool(false) => Some("False"),
        JsonToken::Number(_) => Some("Number"),
        JsonToken::Text(_) => Some("String"),
    };
    if let Some(found) = found {
        return Err(ParseError::NoObject(found));
    }
    let mut is_first = true;
    while let Some(name) = reader.member(std::mem::take(&mut is_first))? {
        let value = reader.raw()?;
        each(&name.lossy(), value);
    }
    Ok(reader.end()?)
}

/// A string; `None` if it is absent or null.
pub(crate) fn text<'a>(
    name: &'static str,
    value: Option<&'a str>,
) -> Result<Option<Cow<'a, str>>, ParseError> {
    let Some(value) = value else { return Ok(None) };
    match JsonReader::new(value).token()? {
        JsonToken::Text(text) => Ok(Some(text.lossy())),
        JsonToken::Null => Ok(None),
        _ => Err(ParseError::Type { name, expected: "String" }),
    }
}

impl<'a> Properties<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, ParseError> {
        let mut properties = Self::default();
        members(payload, |name, value| {
            let property = match name {
                "type" => &mut properties.kind,
                "headers" => &mut properties.headers,
                "invocationId" => &mut properties.invocation_id,
                "target" => &mut properties.target,
                "arguments" => &mut properties.arguments,
                "streamIds" => &mut properties.stream_ids,
                "item" => &mut properties.item,
                "result" => &mut properties.result,
                "error" => &mut properties.error,
                "allowReconnect" => &mut properties.allow_reconnect,
                "sequenceId" => &mut properties.sequence_id,
                _ => return,
            };
            *property = Some(value);
        })?;
        Ok(properties)
    }

    fn invocation(&self) -> Result<Invocation<'a>, ParseError> {
        let target = text("target", self.target)?.filter(|target| !target.is_empty());
        let target = target.ok_or(ParseError::Missing("target"))?;
        let arguments = self.arguments.ok_or(ParseError::Missing("arguments"))?;
        if !arguments.starts_with('[') {
            return Err(ParseError::Type { name: "arguments", expected: "Array" });
        }
        Ok(Invocation {
            headers: self.headers()?,
            // An empty id requests no completion, like a missing one.
            invocation_id: text("invocationId", self.invocation_id)?.filter(|id| !id.is_empty()),
            target,
            arguments: arguments.as_bytes().into(),
            stream_ids: self.stream_ids()?,
        })
    }

    fn completion(&self) -> Result<Completion<'a>, ParseError> {
        let (headers, invocation_id) = self.headers_and_id()?;
        let result = match (self.result, text("error", self.error)?) {
            (Some(_), Some(_)) => return Err(ParseError::ResultAndError),
            (Some(result), None) => CompletionResult::Value(result.as_bytes().into()),
            (None, Some(error)) => CompletionResult::Error(error),
            (None, None) => CompletionResult::Void,
        };
        Ok(Completion { headers, invocation_id, result })
    }

    fn headers_and_id(&self) -> Result<(Headers<'a>, Cow<'a, str>), ParseError> {
        let id = text("invocationId", self.invocation_id)?.filter(|id| !id.is_empty());
        Ok((self.headers()?, id.ok_or(ParseError::Missing("invocationId"))?))
    }

    fn headers(&self) -> Result<Headers<'a>, ParseError> {
        let (mut headers, mut is_text) = (Vec::new(), true);
        let Some(object) = self.headers.filter(|headers| *headers != "null") else { return Ok(headers) };
        if !object.starts_with('{') {
            return Err(ParseError::Type { name: "headers", expected: "Object" });
        }
        members(object.as_bytes(), |name, value| match text("headers", Some(value)) {
            Ok(Some(value)) if self.lists == Lists::Keep => {
                headers.push((Cow::Owned(name.to_owned()), value));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => is_text = false,
        })?;
        if is_text { Ok(headers) } else { Err(ParseError::Header) }
    }

    fn stream_ids(&self) -> Result<Vec<Cow<'a, str>>, ParseError> {
        let mut ids = Vec::new();
        let Some(array) = self.stream_ids.filter(|ids| *ids != "null") else { return Ok(ids) };
        let mut reader = JsonReader::new(array);
        if reader.token()? != JsonToken::Array {
            return Err(ParseError::Type { name: "streamIds", expected: "Array" });
        }
        let mut is_first = true;
        while reader.element(std::mem::take(&mut is_first))? {
            let JsonToken::Text(id) = reader.token()? else {
                return Err(ParseError::Type { name: "streamIds", expected: "Array of String" });
            };
            if self.lists == Lists::Keep {
                ids.push(id.lossy());
            }
        }
        Ok(ids)
    }

    fn sequenced(&self) -> Result<Sequenced, ParseError> {
        let number = self.sequence_id.ok_or(ParseError::Missing("sequenceId"))?;
        let sequence_id = number.parse();
        let sequence_id =
            sequence_id.map_err(|_| ParseError::Type { name: "sequenceId", expected: "Number" })?;
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
        HubMessage::Ack(Sequenced { sequence_id }) => sequenced(8, *sequence_id, out),
        HubMessage::Sequence(Sequenced { sequence_id }) => sequenced(9, *sequence_id, out),
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

fn sequenced(kind: u8, sequence_id: u64, out: &mut Vec<u8>) {
    framed(out, |out| {
        begin(kind, &Vec::new(), None, out);
        write!(out, ",\"sequenceId\":{sequence_id}").expect("writing to a vector cannot fail");
    });
}

fn begin(kind: u8, headers: &Headers<'_>, invocation_id: Option<&Cow<'_, str>>, out: &mut Vec<u8>) {
    write!(out, "{{\"type\":{kind}").expect("writing to a vector cannot fail");
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
    serde_json::to_writer(out, value).expect("a string is always JSON and writing to a vector cannot fail");
}
