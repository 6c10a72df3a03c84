//! Parses stream items that an app sends over REST, in all formats of a body.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use signalr_protocol::{
    HubMessage, HubProtocol, StreamItem, json_to_msgpack, msgpack_to_json, next_message, parse, parse_framed,
};

use super::fields::json_text;
use super::message::{Form, invalid, slices};
use crate::error_table;
use crate::rejection::Rejection;
use realtime_engine::OutgoingMessage;

/// Longest stream id, in characters.
const STREAM_CHARS_MAX: usize = 100;

/// Checks a stream id: 1 to 100 characters, not only white space (the vendor's description of the operation).
pub(crate) fn stream_id(name: &str) -> Result<&str, Rejection> {
    if name.trim().is_empty() || name.chars().nth(STREAM_CHARS_MAX).is_some() {
        let message =
            format!("a stream's id has 1 to {STREAM_CHARS_MAX} characters and is not only white space");
        return Err(Rejection::new(&error_table::INVALID_STREAM_ID, message).about("streamId"));
    }
    Ok(name)
}

/// Parses the items of `stream` by the content type of the body: a JSON value, JSON values in lines, a MessagePack value, or
/// framed stream items by protocol. There is at least one item.
pub(crate) fn stream_items(
    stream: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Vec<OutgoingMessage>, Rejection> {
    let refused = |error: &dyn std::fmt::Display| invalid(format!("the item is invalid: {error}"));
    if is_lines(headers) {
        return lines(stream, body);
    }
    match Form::of(headers)? {
        Form::Json => {
            let item = json_text(body).map_err(|error| refused(&error))?;
            Ok(vec![OutgoingMessage::stream_item(stream, item).map_err(|error| refused(&error))?])
        }
        Form::MessagePack => {
            let mut json = Vec::new();
            msgpack_to_json(body, &mut json).map_err(|error| refused(&error))?;
            let items = [(HubProtocol::Json, json.as_slice()), (HubProtocol::MessagePack, body.as_ref())];
            let [json, messagepack] = items.map(|(protocol, item)| framed(protocol, stream, item));
            Ok(vec![OutgoingMessage::ready(Some(json), Some(messagepack), None)])
        }
        Form::ByProtocol => {
            let payloads = parse_framed(body).map_err(|error| invalid(error.to_string()))?;
            by_protocol(stream, slices(body, &payloads)).map_err(invalid)
        }
    }
}

/// Whether the body is JSON values in lines.
fn is_lines(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/jsonl"].iter().any(|lines| kind.eq_ignore_ascii_case(lines))
}

/// JSON values, one per line; empty lines are ignored.
fn lines(stream: &str, body: &Bytes) -> Result<Vec<OutgoingMessage>, Rejection> {
    let text = json_text(body).map_err(|_| invalid("the items are not UTF-8"))?;
    let mut items = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let item = OutgoingMessage::stream_item(stream, line);
        items.push(item.map_err(|error| invalid(format!("the item in line {}: {error}", at + 1)))?);
    }
    if items.is_empty() {
        return Err(invalid("the body has no items; send one JSON value per line"));
    }
    Ok(items)
}

/// Items that the sender framed, the same number for each protocol; a missing encoding is made from another one.
fn by_protocol(stream: &str, payloads: Vec<(HubProtocol, Bytes)>) -> Result<Vec<OutgoingMessage>, String> {
    let mut all: Vec<(HubProtocol, Vec<Item>)> = Vec::new();
    for (protocol, framed) in payloads {
        let items = items(protocol, framed, stream)?;
        if let Some((other, others)) = all.first()
            && others.len() != items.len()
        {
            let (name, other) = (protocol.name(), other.name());
            let (count, counted) = (items.len(), others.len());
            return Err(format!("there are {counted} items in '{other}' and {count} in '{name}'"));
        }
        all.push((protocol, items));
    }
    let count = all.first().map_or(0, |(_, items)| items.len());
    if count == 0 {
        return Err("the body has no stream item for 'json', 'messagepack' or 'blazorpack'".to_owned());
    }
    let mut messages = Vec::with_capacity(count);
    let mut all: Vec<_> = all.into_iter().map(|(protocol, items)| (protocol, items.into_iter())).collect();
    for _ in 0..count {
        let next = |(protocol, items): &mut (HubProtocol, _)| (*protocol, next_of(items));
        messages.push(message(stream, all.iter_mut().map(next))?);
    }
    Ok(messages)
}

fn next_of(items: &mut std::vec::IntoIter<Item>) -> Item {
    items.next().expect("each protocol has as many items as the first")
}

/// A stream item as its sender framed it, with its value.
struct Item {
    framed: Bytes,
    value: Vec<u8>,
}

/// One item in the encodings of its sender.
fn message(
    stream: &str,
    encodings: impl Iterator<Item = (HubProtocol, Item)>,
) -> Result<OutgoingMessage, String> {
    let (mut json, mut messagepack, mut blazorpack) = (None, None, None);
    for (protocol, Item { framed, value }) in encodings {
        match protocol {
            HubProtocol::Json => {
                messagepack = messagepack.or(translated(HubProtocol::MessagePack, stream, &value)?);
                json = Some(framed);
            }
            HubProtocol::MessagePack => {
                json = json.or(translated(HubProtocol::Json, stream, &value)?);
                messagepack = Some(framed);
            }
            HubProtocol::BlazorPack => blazorpack = Some(framed),
        }
    }
    Ok(OutgoingMessage::ready(json, messagepack, blazorpack))
}

/// The framed items of one protocol.
fn items(protocol: HubProtocol, mut framed: Bytes, stream: &str) -> Result<Vec<Item>, String> {
    let name = protocol.name();
    let mut items = Vec::new();
    while !framed.is_empty() {
        let number = items.len() + 1;
        let whole = next_message(protocol, &framed, framed.len());
        let Ok(Some((payload, used))) = whole else {
            return Err(format!("item {number} in '{name}' is not one framed hub message"));
        };
        let message = parse(protocol, payload).map_err(|error| format!("item {number} in '{name}': {error}"));
        let value = match message? {
            HubMessage::StreamItem(item) if item.invocation_id == stream => item.item.into_owned(),
            HubMessage::StreamItem(_) => {
                return Err(format!("item {number} in '{name}' is of another stream"));
            }
            _ => return Err(format!("message {number} in '{name}' is not a stream item")),
        };
        items.push(Item { framed: framed.split_to(used), value });
    }
    Ok(items)
}

fn translated(to: HubProtocol, stream: &str, item: &[u8]) -> Result<Option<Bytes>, String> {
    let mut other = Vec::new();
    let translated = match to {
        HubProtocol::Json => msgpack_to_json(item, &mut other),
        _ => json_to_msgpack(item, &mut other),
    };
    translated.map_err(|error| error.to_string())?;
    Ok(Some(framed(to, stream, &other)))
}

fn framed(protocol: HubProtocol, stream: &str, item: &[u8]) -> Bytes {
    let message = StreamItem { headers: Vec::new(), invocation_id: stream.into(), item: item.into() };
    let mut out = Vec::new();
    HubMessage::StreamItem(message).encode(protocol, &mut out);
    out.into()
}
