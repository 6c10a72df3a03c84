//! What an upstream's answer becomes for the client that called. Pure.

use bytes::Bytes;
use http::StatusCode;
use signalr_protocol::{
    Completion, CompletionResult, FramingError, HubMessage, HubProtocol, ParseError, Splitter, finish_frame,
    next_message, parse, write_frame_start,
};

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Nothing: what the upstream says is for nobody.
    Nothing,
    /// The completion of an invocation.
    Completion(Box<str>),
    /// The completion of an invocation that uploads streams: now, or with what follows in them.
    Upload(Box<str>),
    /// The completion of the invocation whose upload this is a part of; at the last part it must come.
    Part { invocation_id: Box<str>, is_last: bool },
    /// The items of a stream and its end, which may also come over REST later.
    Stream(Box<str>),
}

/// Why an answer is of no use to the client that called. The text reaches it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseError {
    /// The emulator's text.
    #[error("Invocation failed, status code {}", .0.as_u16())]
    Status(StatusCode),
    #[error("Invocation failed, the upstream's answer is not framed as {protocol}: {cause}")]
    Framing { protocol: &'static str, cause: FramingError },
    #[error("Invocation failed, the upstream's answer has a part that is not framed, or too large: {0}")]
    Part(#[from] FramingError),
    #[error("Invocation failed, the upstream's answer is not a whole hub message framed as {protocol}")]
    NotWhole { protocol: &'static str },
    #[error("Invocation failed, the upstream's answer is not a hub message in {protocol}: {cause}")]
    Message { protocol: &'static str, cause: ParseError },
    #[error("Invocation failed, the upstream's answer is more than one hub message")]
    Several,
    #[error("Invocation failed, the upstream's answer is no completion of this invocation")]
    Foreign,
}

/// What goes to the client: framed hub messages, or nothing. The body of a good answer is passed on as it is (reference, 3.3).
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
        // The upstream waits for what is uploaded.
        Awaited::Upload(_) if status == StatusCode::ACCEPTED => Ok(None),
        _ if !is_good => Err(ResponseError::Status(status)),
        Awaited::Part { is_last: false, .. } if is_empty => Ok(None),
        Awaited::Completion(id) | Awaited::Upload(id) | Awaited::Part { invocation_id: id, .. }
            if is_empty =>
        {
            Ok(Some(completion(protocol, id, CompletionResult::Void)))
        }
        // The stream goes on over REST.
        Awaited::Stream(_) if is_empty => Ok(None),
        Awaited::Completion(id) | Awaited::Upload(id) | Awaited::Part { invocation_id: id, .. } => {
            check_completion(protocol, id, body).map(|()| Some(body.clone()))
        }
        Awaited::Stream(id) => check_stream(protocol, id, body).map(|()| Some(body.clone())),
    }
}

/// A byte order mark, which some writers put in front of JSON, is no part of it, and clients would not read the message behind it.
fn without_mark(protocol: HubProtocol, body: &Bytes) -> Bytes {
    body.slice_ref(unmarked(protocol, body))
}

fn unmarked(protocol: HubProtocol, text: &[u8]) -> &[u8] {
    let mark = "\u{feff}".as_bytes();
    text.strip_prefix(mark).filter(|_| protocol == HubProtocol::Json).unwrap_or(text)
}

/// Whether framed messages, such as a method of this process answers, end a stream.
pub(crate) fn ends_stream(protocol: HubProtocol, id: &str, mut framed: &[u8]) -> bool {
    while let Ok(Some((payload, used))) = next_message(protocol, framed, usize::MAX) {
        if matches!(check_part(protocol, id, payload), Ok(true)) {
            return true;
        }
        framed = &framed[used..];
    }
    false
}

/// A completion that says what went wrong; `None` where nobody waits for one.
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

/// Reads the answer to a stream as it comes, in whatever pieces: items of the stream in any number, then perhaps its end.
#[derive(Debug)]
pub(crate) struct StreamReader {
    protocol: HubProtocol,
    id: Box<str>,
    splitter: Splitter,
    has_begun: bool,
    has_ended: bool,
}

/// What a piece of an answer completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Completed {
    /// Whole messages for the client, one after the other, framed.
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

    /// Takes the next piece. What it completed before something that is wrong is there as well.
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

    /// The answer is over.
    pub(crate) fn finish(&self) -> Result<(), ResponseError> {
        if self.splitter.partial_bytes() > 0 {
            return Err(ResponseError::NotWhole { protocol: self.protocol.name() });
        }
        Ok(())
    }
}

/// Whether a message ends the stream of an invocation, of which it must be a part.
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

/// All of an answer to a stream that came at once.
fn check_stream(protocol: HubProtocol, id: &str, body: &[u8]) -> Result<(), ResponseError> {
    // The body's size is bounded where it was read.
    let mut reader = StreamReader::new(protocol, id.into(), usize::MAX);
    reader.feed(body).1?;
    reader.finish()
}

fn first(protocol: HubProtocol, body: &[u8]) -> Result<(HubMessage<'_>, usize), ResponseError> {
    let name = protocol.name();
    // The body's size is bounded where it was read; a length beyond its end is that of another protocol, or of half a message.
    let found = next_message(protocol, body, usize::MAX);
    let found = found.map_err(|cause| ResponseError::Framing { protocol: name, cause })?;
    let (payload, used) = found.ok_or(ResponseError::NotWhole { protocol: name })?;
    let message =
        parse(protocol, payload).map_err(|cause| ResponseError::Message { protocol: name, cause })?;
    Ok((message, used))
}

#[cfg(test)]
mod tests;
