//! Hub messages in MessagePack: an array whose first element is the type. Elements after the known ones are ignored: a newer peer
//! may add some ("MessagePack Hub Protocol Encoding").

use std::borrow::Cow;

use rmp::encode;

pub(crate) mod reader;

use crate::framing::{finish_frame, write_frame_start};
use crate::hub_protocol::HubProtocol;
use crate::message::{
    CancelInvocation, Close, Completion, CompletionResult, Headers, HubMessage, HubMessageType, Invocation,
    Lists, Sequenced, StreamItem,
};
use crate::parse_error::ParseError;
use crate::transcode::{self, TranscodeError};
use reader::{MsgpackReader, MsgpackToken};

/// The result kinds of a completion: element 3 of type 3.
const COMPLETION_ERROR: u64 = 1;
const COMPLETION_VOID: u64 = 2;
const COMPLETION_VALUE: u64 = 3;

const INFALLIBLE: &str = "writing to a vector cannot fail";

pub(crate) fn parse(payload: &[u8], lists: Lists) -> Result<HubMessage<'_>, ParseError> {
    // Skipped elements must be complete too, and nothing may follow: clients close their connection if they receive an
    // invalid message.
    let mut skipped = MsgpackReader::new(payload);
    skipped.raw()?;
    if !skipped.is_empty() {
        return Err(ParseError::MessagePack("bytes follow the message"));
    }
    let mut reader = MsgpackReader::new(payload);
    let elements = Elements::begin(&mut reader)?;
    let kind = HubMessageType::from(reader.unsigned()?);
    Ok(match kind {
        HubMessageType::Invocation => {
            HubMessage::Invocation(invocation(&mut reader, elements, "target for Invocation message", lists)?)
        }
        HubMessageType::StreamInvocation => {
            let invocation = invocation(&mut reader, elements, "target for StreamInvocation message", lists)?;
            if invocation.invocation_id.is_none() {
                return Err(ParseError::Empty("invocation ID for StreamInvocation message"));
            }
            HubMessage::StreamInvocation(invocation)
        }
        HubMessageType::StreamItem => {
            elements.at_least(4, "item")?;
            HubMessage::StreamItem(StreamItem {
                headers: headers(&mut reader, lists)?,
                invocation_id: id(&mut reader, "invocation ID for StreamItem message")?,
                item: reader.raw()?.into(),
            })
        }
        HubMessageType::Completion => HubMessage::Completion(completion(&mut reader, elements, lists)?),
        HubMessageType::CancelInvocation => {
            elements.at_least(3, "invocationId")?;
            let headers = headers(&mut reader, lists)?;
            let invocation_id = id(&mut reader, "invocation ID for CancelInvocation message")?;
            HubMessage::CancelInvocation(CancelInvocation { headers, invocation_id })
        }
        HubMessageType::Ping => HubMessage::Ping,
        HubMessageType::Close => {
            elements.at_least(2, "error")?;
            let error = reader.optional_string()?;
            let allow_reconnect = elements.0 > 2 && reader.token()? == MsgpackToken::Bool(true);
            HubMessage::Close(Close { error, allow_reconnect })
        }
        HubMessageType::Ack | HubMessageType::Sequence => {
            elements.at_least(2, "sequenceId")?;
            let sequenced = Sequenced { sequence_id: reader.unsigned()? };
            if kind == HubMessageType::Ack {
                HubMessage::Ack(sequenced)
            } else {
                HubMessage::Sequence(sequenced)
            }
        }
        HubMessageType::Unknown(number) => HubMessage::Unknown(number),
    })
}

/// The first element of an array.
pub(crate) fn first_element(array: &[u8]) -> Option<&[u8]> {
    let mut reader = MsgpackReader::new(array);
    if reader.array().ok()? == 0 { None } else { reader.raw().ok() }
}

/// The number of elements of the message's array.
#[derive(Clone, Copy)]
struct Elements(u32);

impl Elements {
    fn begin(reader: &mut MsgpackReader<'_>) -> Result<Self, ParseError> {
        let elements = Self(reader.array()?);
        elements.at_least(1, "type")?;
        Ok(elements)
    }

    fn at_least(self, count: u32, last: &'static str) -> Result<(), ParseError> {
        if self.0 < count { Err(ParseError::Missing(last)) } else { Ok(()) }
    }
}

fn invocation<'a>(
    reader: &mut MsgpackReader<'a>,
    elements: Elements,
    target: &'static str,
    lists: Lists,
) -> Result<Invocation<'a>, ParseError> {
    elements.at_least(5, "arguments")?;
    let headers = headers(reader, lists)?;
    // An empty id requests no completion, like a missing one.
    let invocation_id = optional_text(reader, "'invocationId' as String")?.filter(|id| !id.is_empty());
    let target = optional_text(reader, "'target' as String")?
        .filter(|text| !text.is_empty())
        .ok_or(ParseError::Empty(target))?;
    let arguments = reader.raw()?;
    MsgpackReader::new(arguments).array().map_err(|_| ParseError::Reading("array length for 'arguments'"))?;
    let mut stream_ids = Vec::new();
    if elements.0 > 5 {
        match reader.token()? {
            MsgpackToken::Array(count) => {
                for _ in 0..count {
                    let id = id(reader, "value in streamIds received")?;
                    if lists == Lists::Keep {
                        stream_ids.push(id);
                    }
                }
            }
            MsgpackToken::Nil => {}
            _ => return Err(ParseError::Reading("array length for 'streamIds'")),
        }
    }
    Ok(Invocation { headers, invocation_id, target, arguments: arguments.into(), stream_ids })
}

fn completion<'a>(
    reader: &mut MsgpackReader<'a>,
    elements: Elements,
    lists: Lists,
) -> Result<Completion<'a>, ParseError> {
    elements.at_least(4, "result")?;
    let headers = headers(reader, lists)?;
    let invocation_id = id(reader, "invocation ID for Completion message")?;
    let result = match reader.unsigned().map_err(|_| ParseError::Reading("'resultKind' as Int32"))? {
        COMPLETION_VOID => CompletionResult::Void,
        COMPLETION_ERROR => {
            elements.at_least(5, "error")?;
            CompletionResult::Error(optional_text(reader, "'error' as String")?.unwrap_or_default())
        }
        COMPLETION_VALUE => {
            elements.at_least(5, "result")?;
            CompletionResult::Value(reader.raw()?.into())
        }
        _ => return Err(ParseError::ResultKind),
    };
    Ok(Completion { headers, invocation_id, result })
}

/// A required id that is not empty.
fn id<'a>(reader: &mut MsgpackReader<'a>, what: &'static str) -> Result<Cow<'a, str>, ParseError> {
    let id = optional_text(reader, "'invocationId' as String")?.filter(|id| !id.is_empty());
    id.ok_or(ParseError::Empty(what))
}

fn optional_text<'a>(
    reader: &mut MsgpackReader<'a>,
    what: &'static str,
) -> Result<Option<Cow<'a, str>>, ParseError> {
    reader.optional_string().map_err(|_| ParseError::Reading(what))
}

fn headers<'a>(reader: &mut MsgpackReader<'a>, lists: Lists) -> Result<Headers<'a>, ParseError> {
    let count = match reader.token()? {
        MsgpackToken::Map(count) => count,
        MsgpackToken::Nil => 0,
        _ => return Err(ParseError::Reading("map length for 'headers'")),
    };
    let mut headers = Vec::new();
    for _ in 0..count {
        let header = (reader.string()?, reader.string()?);
        if lists == Lists::Keep {
            headers.push(header);
        }
    }
    Ok(headers)
}

pub(crate) fn encode(message: &HubMessage<'_>, out: &mut Vec<u8>) {
    match message {
        HubMessage::Invocation(invocation) => encode_invocation(1, invocation, out),
        HubMessage::StreamInvocation(invocation) => encode_invocation(4, invocation, out),
        HubMessage::Unknown(_) => {}
        HubMessage::StreamItem(StreamItem { headers, invocation_id, item }) => framed(out, |out| {
            begin(4, 2, headers, out);
            string(invocation_id, out);
            out.extend_from_slice(item);
        }),
        HubMessage::Completion(Completion { headers, invocation_id, result }) => framed(out, |out| {
            let elements = if *result == CompletionResult::Void { 4 } else { 5 };
            begin(elements, 3, headers, out);
            string(invocation_id, out);
            match result {
                CompletionResult::Error(error) => {
                    number(COMPLETION_ERROR, out);
                    string(error, out);
                }
                CompletionResult::Void => number(COMPLETION_VOID, out),
                CompletionResult::Value(value) => {
                    number(COMPLETION_VALUE, out);
                    out.extend_from_slice(value);
                }
            }
        }),
        HubMessage::CancelInvocation(CancelInvocation { headers, invocation_id }) => framed(out, |out| {
            begin(3, 5, headers, out);
            string(invocation_id, out);
        }),
        // Types 6 to 9 have no headers; a ping is exactly 91 06.
        HubMessage::Ping => framed(out, |out| array(1, 6, out)),
        HubMessage::Close(Close { error, allow_reconnect }) => framed(out, |out| {
            array(3, 7, out);
            optional_string(error.as_deref(), out);
            encode::write_bool(out, *allow_reconnect).expect(INFALLIBLE);
        }),
        HubMessage::Ack(Sequenced { sequence_id }) => framed(out, |out| {
            array(2, 8, out);
            number(*sequence_id, out);
        }),
        HubMessage::Sequence(Sequenced { sequence_id }) => framed(out, |out| {
            array(2, 9, out);
            number(*sequence_id, out);
        }),
    }
}

pub(crate) fn encode_invocation(kind: u64, invocation: &Invocation<'_>, out: &mut Vec<u8>) {
    framed(out, |out| {
        begin_invocation(kind, invocation, out);
        out.extend_from_slice(&invocation.arguments);
        end_invocation(invocation, out);
    });
}

pub(crate) fn encode_invocation_from_json(
    kind: u64,
    invocation: &Invocation<'_>,
    out: &mut Vec<u8>,
) -> Result<(), TranscodeError> {
    let before = out.len();
    let mut outcome = Ok(());
    framed(out, |out| {
        begin_invocation(kind, invocation, out);
        outcome = transcode::json_to_msgpack(&invocation.arguments, out);
        end_invocation(invocation, out);
    });
    if outcome.is_err() {
        out.truncate(before);
    }
    outcome
}

fn begin_invocation(kind: u64, invocation: &Invocation<'_>, out: &mut Vec<u8>) {
    begin(6, kind, &invocation.headers, out);
    optional_string(invocation.invocation_id.as_deref(), out);
    string(&invocation.target, out);
}

fn end_invocation(invocation: &Invocation<'_>, out: &mut Vec<u8>) {
    let count = u32::try_from(invocation.stream_ids.len()).expect("a message has far fewer streams");
    encode::write_array_len(out, count).expect(INFALLIBLE);
    for id in &invocation.stream_ids {
        string(id, out);
    }
}

fn framed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = write_frame_start(HubProtocol::MessagePack, out);
    body(out);
    finish_frame(&start, out);
}

fn begin(elements: u32, kind: u64, headers: &Headers<'_>, out: &mut Vec<u8>) {
    array(elements, kind, out);
    let count = u32::try_from(headers.len()).expect("a message has far fewer headers");
    encode::write_map_len(out, count).expect(INFALLIBLE);
    for (name, value) in headers {
        string(name, out);
        string(value, out);
    }
}

fn array(elements: u32, kind: u64, out: &mut Vec<u8>) {
    encode::write_array_len(out, elements).expect(INFALLIBLE);
    number(kind, out);
}

fn number(value: u64, out: &mut Vec<u8>) {
    encode::write_uint(out, value).expect(INFALLIBLE);
}

fn string(value: &str, out: &mut Vec<u8>) {
    encode::write_str(out, value).expect(INFALLIBLE);
}

fn optional_string(value: Option<&str>, out: &mut Vec<u8>) {
    match value {
        Some(value) => string(value, out),
        None => encode::write_nil(out).expect(INFALLIBLE),
    }
}
