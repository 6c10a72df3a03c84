//! Access for the fuzz targets, which are outside the workspace, to private parsers of untrusted input. Not an interface: the
//! module exists only with the feature `fuzzing`, and may change at any time.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use signalr_protocol::HubProtocol;
use state::Instance;

use crate::filter::{Filter, FilteredConnection};
use crate::from_protocol::{
    Operation, Page, Payload, Query, To, commands, hub_of_client, hub_of_rest, route, stream_id, stream_items,
};
use crate::names::group;
use crate::rejection::Rejection;
use crate::to_protocol;
use crate::upstream::{Awaited, StreamReader, to_client};
use realtime_engine::fuzzing::{Frames, frames};
use realtime_engine::{Action, OutgoingMessage};

/// An accepted message, as the frames for clients of each protocol.
#[derive(Debug)]
pub struct Accepted {
    /// In JSON.
    pub json: Option<Bytes>,
    /// In MessagePack.
    pub messagepack: Option<Bytes>,
    /// In BlazorPack, Blazor's variant of MessagePack.
    pub blazorpack: Option<Bytes>,
    /// Whether the message exists only in BlazorPack, so that clients of other protocols cannot receive it.
    pub only_blazorpack: bool,
}

/// A rejection.
#[derive(Debug)]
pub struct Refused {
    /// Its HTTP status.
    pub status: StatusCode,
    /// Its error code.
    pub code: &'static str,
    /// The message to the caller.
    pub message: String,
}

/// Parses a REST request up to the call of the engine, and returns the messages that it would send.
///
/// # Errors
///
/// If the request is rejected.
pub fn rest(method: &Method, uri: &Uri, content_type: &[u8], body: &[u8]) -> Result<Vec<Accepted>, Refused> {
    read_rest(method, uri, content_type, &Bytes::copy_from_slice(body)).map_err(|rejection| {
        let (status, code, message) = (rejection.status, rejection.error.code, rejection.message.clone());
        // Rendering the rejection must not fail either.
        drop(to_protocol::error_detail(rejection));
        Refused { status, code, message }
    })
}

fn read_rest(
    method: &Method,
    uri: &Uri,
    content_type: &[u8],
    body: &Bytes,
) -> Result<Vec<Accepted>, Rejection> {
    let instance = Instance::new("fuzz").expect("the name is valid");
    let routed = route(method, uri.path())?;
    let query = Query::parse(uri.query());
    hub_of_rest(&routed.hub, &query, &instance)?;
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    Ok(match routed.operation {
        Operation::Send(to) => {
            check_target(&to)?;
            vec![accepted(&Payload::read(&headers, body)?.message()?)]
        }
        Operation::Invoke { .. } => {
            // The length of the ids of client invocations.
            let message = Payload::read(&headers, body)?.call(&"A".repeat(44))?;
            vec![accepted(&message)]
        }
        Operation::StreamItem { stream, .. } => {
            stream_items(stream_id(&stream)?, &headers, body)?.iter().map(accepted).collect()
        }
        Operation::Execute => {
            let sends = |action| match action {
                Action::Send(message) => Some(accepted(&message)),
                Action::Join(_) | Action::Leave(_) | Action::Close(_) => None,
            };
            commands(body)?.into_iter().filter_map(sends).collect()
        }
        Operation::ListConnections(to) => {
            check_target(&to)?;
            check_page(&query, uri)?;
            Vec::new()
        }
        Operation::ListUsers | Operation::ListGroups => {
            check_page(&query, uri)?;
            Vec::new()
        }
        _ => Vec::new(),
    })
}

fn check_target(to: &To) -> Result<(), Rejection> {
    if let To::Group(name) = to {
        group(name)?;
    }
    Ok(())
}

/// The link to the next page must be a valid URL, and its cursor must point after the last entry.
fn check_page(query: &Query<'_>, uri: &Uri) -> Result<(), Rejection> {
    let page = Page::read(query)?;
    let last = "last & greatest/\u{e9}";
    let next: Uri = page.next_link(uri, last).parse().expect("the link to the next page is a URL");
    assert_eq!(next.path(), uri.path());
    let next = Page::read(&Query::parse(next.query()))?;
    assert_eq!(next.after.as_deref(), Some(last));
    Ok(())
}

fn accepted(message: &OutgoingMessage) -> Accepted {
    let record = message.to_record();
    let is_call = record.as_ref().is_some_and(|record| OutgoingMessage::from_record(record).is_none());
    assert!(!is_call, "a reserved method was accepted: {message:?}");
    let Frames { json, messagepack, blazorpack, only_blazorpack } = frames(message);
    Accepted { json, messagepack, blazorpack, only_blazorpack }
}

/// Parses the query of a client; returns the hub's name, or the error message to the client.
pub fn client_query(query: &str) -> Result<String, String> {
    let instance = Instance::new("fuzz").expect("the name is valid");
    let query = Query::parse(Some(query));
    let hub = hub_of_client(&query, &instance).map_err(|rejection| rejection.message)?;
    // The query that is stored contains the same parameters as before.
    let kept = query.without(&["access_token", "id", "_"]);
    let again = Query::parse(Some(&kept));
    assert_eq!(again.get("hub"), query.get("hub"));
    assert_eq!(again.without(&[]), kept);
    Ok(hub.name().to_owned())
}

/// Parses a filter and applies it to a connection; returns the result, or the error message to the caller.
pub fn filter(text: &str, connection: &str, user: Option<&str>, groups: &[&str]) -> Result<bool, String> {
    let filter = Filter::parse(text).map_err(|error| error.to_string())?;
    Ok(filter.matches(FilteredConnection { connection, user, groups }))
}

/// What a client receives of a streamed response, and how it ends.
fn read_stream<'a>(
    protocol: HubProtocol,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Bytes>, Result<(), String>) {
    let (mut reader, mut messages) = (StreamReader::new(protocol, "1".into(), 1 << 20), Vec::new());
    for piece in pieces {
        let (completed, result) = reader.feed(piece);
        messages.extend(completed.messages);
        if let Err(error) = result {
            return (messages, Err(error.to_string()));
        }
    }
    (messages, reader.finish().map_err(|error| error.to_string()))
}

/// What a client that waits for a completion or a stream receives of an upstream's response.
pub fn upstream_answer(protocol: HubProtocol, is_stream: bool, body: &[u8]) -> Result<Option<Bytes>, String> {
    let awaited = if is_stream { Awaited::Stream("1".into()) } else { Awaited::Completion("1".into()) };
    if is_stream {
        // The client receives the same, whatever the size of the parts is.
        assert_eq!(read_stream(protocol, body.chunks(7)), read_stream(protocol, [body].into_iter()));
    }
    let answer = to_client(protocol, &awaited, StatusCode::OK, &Bytes::copy_from_slice(body));
    answer.map_err(|error| error.to_string())
}
