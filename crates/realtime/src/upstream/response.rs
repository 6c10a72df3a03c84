//! Converts a response of an upstream to the hub messages for the client that called. Pure.

use bytes::Bytes;
use http::StatusCode;
use signalr_protocol::{
    Completion, CompletionResult, FramingError, HubMessage, HubProtocol, ParseError, Splitter, finish_frame,
    next_message, parse, write_frame_start,
};

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Nothing; the response is discarded.
    Nothing,
    /// The completion of an invocation.
    Completion(Box<str>),
    /// The completion of an invocation that uploads streams: in the response to the invocation, or to a later item of them.
    Upload(Box<str>),
    /// The completion of the invocation that uploads this item; the response to the last item must contain it.
    Part { invocation_id: Box<str>, is_last: bool },
    /// The items of a stream and its end. The app may also send them over REST later.
    Stream(Box<str>),
}

/// Why a response cannot be passed to the client. The client receives the text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseError {
    /// The emulator's text.
    #[error("Invocation failed, status code {}", .0.as_u16())]
    Status(StatusCode),
    #[error("Invocation failed, the upstream's response is not framed as {protocol}: {cause}")]
    Framing { protocol: &'static str, cause: FramingError },
    #[error("Invocation failed, the upstream's response has a part that is not framed, or too large: {0}")]
    Part(#[from] FramingError),
    #[error("Invocation failed, the upstream's response is not a whole hub message framed as {protocol}")]
    NotWhole { protocol: &'static str },
    #[error("Invocation failed, the upstream's response is not a hub message in {protocol}: {cause}")]
    Message { protocol: &'static str, cause: ParseError },
    #[error("Invocation failed, the upstream's response is more than one hub message")]
    Several,
    #[error("Invocation failed, the upstream's response is not a completion of this invocation")]
    Foreign,
}

/// The framed hub messages for the client; `None` for none. The body of a valid response is passed on unchanged (reference, 3.3).
pub(crate) fn to_client(
    protocol: HubProtocol,
    awaited: &Awaited,
    status: StatusCode,
    body: &Bytes,
) -> Result<Option<Bytes>, ResponseError> {
    let is_good = matches!(status, StatusCode::OK | StatusCode::NO_CONTENT);
    let body = &without_mark(protocol, body);
    let is_empty = status == StatusCode::NO_CONTENT || body.is_empty();
    match awaited {
        Awaited::Nothing => Ok(None),
        // The upstream waits for the uploaded items.
        Awaited::Upload(_) if status == StatusCode::ACCEPTED => Ok(None),
        _ if !is_good => Err(ResponseError::Status(status)),
        Awaited::Part { is_last: false, .. } if is_empty => Ok(None),
        Awaited::Completion(id) | Awaited::Upload(id) | Awaited::Part { invocation_id: id, .. }
            if is_empty =>
        {
            Ok(Some(completion(protocol, id, CompletionResult::Void)))
        }
        // The app continues the stream over REST.
        Awaited::Stream(_) if is_empty => Ok(None),
        Awaited::Completion(id) | Awaited::Upload(id) | Awaited::Part { invocation_id: id, .. } => {
            check_completion(protocol, id, body).map(|()| Some(body.clone()))
        }
        Awaited::Stream(id) => check_stream(protocol, id, body).map(|()| Some(body.clone())),
    }
}

/// Removes a byte order mark, which some writers put in front of JSON: clients could not parse the message.
fn without_mark(protocol: HubProtocol, body: &Bytes) -> Bytes {
    body.slice_ref(unmarked(protocol, body))
}

fn unmarked(protocol: HubProtocol, text: &[u8]) -> &[u8] {
    let mark = "\u{feff}".as_bytes();
    text.strip_prefix(mark).filter(|_| protocol == HubProtocol::Json).unwrap_or(text)
}

/// Whether framed messages, such as those of a method of this process, end a stream.
pub(crate) fn ends_stream(protocol: HubProtocol, id: &str, mut framed: &[u8]) -> bool {
    while let Ok(Some((payload, used))) = next_message(protocol, framed, usize::MAX) {
        if matches!(check_part(protocol, id, payload), Ok(true)) {
            return true;
        }
        framed = &framed[used..];
    }
    false
}

/// A completion with an error; `None` if the client expects no completion.
pub(crate) fn error_for(protocol: HubProtocol, awaited: &Awaited, error: &str) -> Option<Bytes> {
    match awaited {
        Awaited::Nothing => None,
        Awaited::Completion(id)
        | Awaited::Upload(id)
        | Awaited::Part { invocation_id: id, .. }
        | Awaited::Stream(id) => Some(completion(protocol, id, CompletionResult::Error(error.into()))),
    }
}

fn completion(protocol: HubProtocol, id: &str, result: CompletionResult<'_>) -> Bytes {
    let mut framed = Vec::new();
    let completion = Completion { headers: Vec::new(), invocation_id: id.into(), result };
    HubMessage::Completion(completion).encode(protocol, &mut framed);
    framed.into()
}

fn check_completion(protocol: HubProtocol, id: &str, body: &[u8]) -> Result<(), ResponseError> {
    let (message, used) = first(protocol, body)?;
    if used < body.len() {
        return Err(ResponseError::Several);
    }
    match message {
        HubMessage::Completion(completion) if completion.invocation_id == id => Ok(()),
        _ => Err(ResponseError::Foreign),
    }
}

/// Parses a streamed response in parts of any size: items of the stream, then optionally its end.
#[derive(Debug)]
pub(crate) struct StreamReader {
    protocol: HubProtocol,
    id: Box<str>,
    splitter: Splitter,
    has_begun: bool,
    has_ended: bool,
}

/// What a part of a response completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Completed {
    /// Complete messages for the client, framed.
    pub(crate) messages: Vec<Bytes>,
    /// Whether the last one ends the stream.
    pub(crate) is_end: bool,
}

impl StreamReader {
    /// A reader for the stream of an invocation, whose messages have at most `bytes_max` bytes.
    pub(crate) fn new(protocol: HubProtocol, id: Box<str>, bytes_max: usize) -> Self {
        Self {
            protocol,
            id,
            splitter: Splitter::new(protocol, bytes_max),
            has_begun: false,
            has_ended: false,
        }
    }

    /// Accepts the next part. Messages that were complete before an error are returned too.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> (Completed, Result<(), ResponseError>) {
        let (mut completed, protocol) = (Completed::default(), self.protocol);
        let (id, has_begun, has_ended) = (&self.id, &mut self.has_begun, &mut self.has_ended);
        let result = self.splitter.feed(piece, |payload| {
            let is_first = !std::mem::replace(has_begun, true);
            let payload = if is_first { unmarked(protocol, payload) } else { payload };
            let is_end = check_part(protocol, id, payload)?;
            if *has_ended {
                return Err(ResponseError::Foreign);
            }
            *has_ended = is_end;
            completed.is_end = is_end;
            let mut framed = Vec::with_capacity(payload.len() + 5);
            let start = write_frame_start(protocol, &mut framed);
            framed.extend_from_slice(payload);
            finish_frame(&start, &mut framed);
            completed.messages.push(framed.into());
            Ok(())
        });
        (completed, result)
    }

    /// The response has ended.
    pub(crate) fn finish(&self) -> Result<(), ResponseError> {
        if self.splitter.partial_bytes() > 0 {
            return Err(ResponseError::NotWhole { protocol: self.protocol.name() });
        }
        Ok(())
    }
}

/// Checks that a message belongs to a stream; returns whether it ends the stream.
fn check_part(protocol: HubProtocol, id: &str, payload: &[u8]) -> Result<bool, ResponseError> {
    let name = protocol.name();
    let message =
        parse(protocol, payload).map_err(|cause| ResponseError::Message { protocol: name, cause })?;
    match message {
        HubMessage::StreamItem(item) if item.invocation_id == id => Ok(false),
        HubMessage::Completion(completion) if completion.invocation_id == id => Ok(true),
        _ => Err(ResponseError::Foreign),
    }
}

/// Checks a response to a stream that was received whole.
fn check_stream(protocol: HubProtocol, id: &str, body: &[u8]) -> Result<(), ResponseError> {
    // The reader of the body limits its size.
    let mut reader = StreamReader::new(protocol, id.into(), usize::MAX);
    reader.feed(body).1?;
    reader.finish()
}

fn first(protocol: HubProtocol, body: &[u8]) -> Result<(HubMessage<'_>, usize), ResponseError> {
    let name = protocol.name();
    // The reader of the body limits its size; a length beyond its end means another protocol or an incomplete message.
    let found = next_message(protocol, body, usize::MAX);
    let found = found.map_err(|cause| ResponseError::Framing { protocol: name, cause })?;
    let (payload, used) = found.ok_or(ResponseError::NotWhole { protocol: name })?;
    let message =
        parse(protocol, payload).map_err(|cause| ResponseError::Message { protocol: name, cause })?;
    Ok((message, used))
}

#[cfg(test)]
mod tests;
