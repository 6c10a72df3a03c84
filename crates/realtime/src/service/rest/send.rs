//! Sends messages to clients, invokes their methods, and closes their connections.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Response, StatusCode};
use http_messages::Body;
use signalr_protocol::{CompletionResult, HubMessage, HubProtocol, msgpack_to_json};
use trace::TraceContext;

use super::request::{RestRequest, target};
use crate::error_table;
use crate::filter::{Filter, FilteredConnection};
use crate::from_protocol::{Api, Payload, To, commands, stream_id, stream_items};
use crate::rejection::Rejection;
use crate::to_protocol;
use realtime_engine::{
    Candidate, ClientInvokeError, ClientResult, CloseRequest, ConnectionId, OutgoingMessage, Predicate,
    Publish, StreamOf, StreamState, Target,
};

/// Bytes of stream items that are passed to a client at a time.
const ITEM_BATCH_BYTES: usize = 64 * 1024;

/// How long one request waits for a client that reads slowly.
const STREAM_PATIENCE: Duration = Duration::from_secs(10);

impl RestRequest<'_> {
    pub(super) async fn send(&self, to: To, body: &Bytes) -> Result<StatusCode, Rejection> {
        let message = Payload::read(&self.head.headers, body)?.message()?;
        // Receivers that are not connected get nothing, and the response does not say so (reference, 2.1).
        if let Some(target) = target(to)? {
            self.publish(target, message).await?;
        }
        Ok(StatusCode::ACCEPTED)
    }

    /// Sends items of a stream that a client started; with `completed=true` they are the last ones.
    pub(super) async fn stream_items(
        &self,
        connection: &str,
        stream: &str,
        body: &Bytes,
    ) -> Result<StatusCode, Rejection> {
        let stream = stream_id(stream)?;
        let items = stream_items(stream, &self.head.headers, body)?;
        let completed = self.text("completed").map_or(Ok(false), truth).map_err(|()| {
            Rejection::new(&error_table::INVALID_COMPLETED, "completed must be true or false")
                .about("completed")
        })?;
        let end = completed.then(|| end_of(stream, None));
        self.send_in_stream(connection, stream, items, end).await
    }

    /// Ends a stream that a client started; with a reason, the end is an error.
    pub(super) async fn stream_end(&self, connection: &str, stream: &str) -> Result<StatusCode, Rejection> {
        let stream = stream_id(stream)?;
        // The vendor's description says `reason`, and its SDK sends `error`.
        let reason = self.text("reason").or_else(|| self.text("error"));
        self.send_in_stream(connection, stream, Vec::new(), Some(end_of(stream, reason))).await
    }

    /// Sends items in parts, and waits for a client that reads slowly between them.
    async fn send_in_stream(
        &self,
        connection: &str,
        stream: &str,
        items: Vec<OutgoingMessage>,
        end: Option<OutgoingMessage>,
    ) -> Result<StatusCode, Rejection> {
        let no_connection = || {
            Rejection::new(
                &error_table::ERROR_CONNECTION_NOT_EXISTED,
                "the connection does not exist, or has ended",
            )
        };
        let connection = ConnectionId::parse(connection).map_err(|_| no_connection())?;
        let of = StreamOf { hub: &self.hub, connection, stream };
        let (count, mut sent) = (items.len(), 0);
        let deadline = Instant::now() + STREAM_PATIENCE;
        for batch in batches(items, end) {
            let length = batch.messages.len();
            let patience = deadline.saturating_duration_since(Instant::now());
            let engine = &self.shared.engine;
            let state = engine.send_in_stream(of, batch.messages, batch.is_end, self.trace(), patience);
            match state.await? {
                StreamState::Sent { .. } => sent += length,
                StreamState::NoConnection => return Err(no_connection()),
                StreamState::NotOpen => {
                    let message = format!(
                        "the connection has no open stream '{stream}': its client did not start it, has cancelled it, or it has ended; {sent} of {count} items were sent"
                    );
                    return Err(Rejection::new(&error_table::ERROR_STREAM_NOT_EXISTED, message));
                }
            }
        }
        Ok(StatusCode::ACCEPTED)
    }

    /// The trace context of the caller's request.
    fn trace(&self) -> Option<TraceContext> {
        let traceparent = self.head.headers.get("traceparent").and_then(|value| value.to_str().ok());
        traceparent.and_then(TraceContext::parse)
    }

    async fn publish(&self, target: Target, message: OutgoingMessage) -> Result<(), Rejection> {
        let publish = Publish {
            hub: self.hub.clone(),
            target,
            excluded: self.excluded(),
            excluded_users: Vec::new(),
            message,
            trace: self.trace(),
        };
        Ok(self.shared.engine.publish(publish).await?)
    }

    /// Executes commands for the connections that a filter selects, or for all.
    pub(super) async fn execute(&self, body: &Bytes) -> Result<StatusCode, Rejection> {
        let filter = self.text("filter").map(Filter::parse).transpose().map_err(|error| {
            Rejection::new(&error_table::INVALID_FILTER, error.to_string()).about("filter")
        })?;
        let actions = commands(body)?;
        let which = Predicate::new(move |candidate: &Candidate<'_>| {
            filter.as_ref().is_none_or(|filter| {
                let connection = candidate.connection.to_string();
                let (user, groups) = (candidate.user, candidate.groups);
                filter.matches(FilteredConnection { connection: &connection, user, groups })
            })
        });
        self.shared.engine.execute(&self.hub, which, actions).await?;
        Ok(StatusCode::ACCEPTED)
    }

    /// Invokes a method of one client and responds with its result.
    pub(super) async fn invoke(&self, connection: &str, body: &Bytes) -> Result<Response<Body>, Rejection> {
        let payload = Payload::read(&self.head.headers, body)?;
        let engine = &self.shared.engine;
        let invocation_id = engine.issue().token.to_string();
        let message = payload.call(&invocation_id)?;
        let Ok(id) = ConnectionId::parse(connection) else {
            return Err(refused(ClientInvokeError::NotFound));
        };
        let patience = Duration::from_millis(self.shared.options().invoke_timeout_ms);
        let result = engine.call(&self.hub, id, invocation_id.clone().into(), message, patience).await;
        let ClientResult { protocol, outcome } = result.map_err(refused)?;
        if self.wants_bytes() {
            return Ok(completion(protocol, &invocation_id, outcome));
        }
        let result = outcome.map_err(|error| {
            Rejection::new(&error_table::CLIENT_INVOCATION_FAILED, error).about("connectionId")
        })?;
        Ok(to_protocol::json(answer(protocol, result)?))
    }

    /// Whether the caller reads a framed completion in the client's own protocol, as the management SDK does, instead of JSON.
    fn wants_bytes(&self) -> bool {
        let accept = self.head.headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let mut kinds =
            accept.flat_map(|value| value.split(',')).map(|kind| kind.split(';').next().unwrap_or(kind));
        kinds.any(|kind| kind.trim().eq_ignore_ascii_case("application/octet-stream"))
    }

    pub(super) async fn close(&self, to: To) -> Result<StatusCode, Rejection> {
        let status = match (&to, self.api) {
            (To::Connection(_), Api::V1) => StatusCode::ACCEPTED,
            (To::Connection(_), Api::Dated) => StatusCode::OK,
            _ => StatusCode::NO_CONTENT,
        };
        let allow_reconnect = self.text("allowReconnect").map_or(Ok(true), truth).map_err(|()| {
            let message = "allowReconnect must be true or false";
            Rejection::new(&error_table::INVALID_ALLOW_RECONNECT, message).about("allowReconnect")
        })?;
        let closing = CloseRequest { reason: self.text("reason").map(Into::into), allow_reconnect };
        if let Some(target) = target(to)? {
            self.shared.engine.close(&self.hub, &target, &self.excluded(), &closing).await?;
        }
        Ok(status)
    }
}

/// Parses a boolean parameter.
fn truth(text: &str) -> Result<bool, ()> {
    text.to_ascii_lowercase().parse().map_err(|_| ())
}

/// A part of the items that a request sends in a stream.
struct ItemBatch {
    messages: Vec<OutgoingMessage>,
    is_end: bool,
}

/// Splits items into parts of [`ITEM_BATCH_BYTES`]; the last part also has the end.
fn batches(items: Vec<OutgoingMessage>, end: Option<OutgoingMessage>) -> Vec<ItemBatch> {
    let (mut batches, mut messages, mut bytes) = (Vec::new(), Vec::new(), 0);
    for item in items {
        if bytes > 0 && bytes + item.bytes() > ITEM_BATCH_BYTES {
            batches.push(ItemBatch { messages: std::mem::take(&mut messages), is_end: false });
            bytes = 0;
        }
        // Bytes that a frame adds to an item.
        bytes += item.bytes() + 50;
        messages.push(item);
    }
    let is_end = end.is_some();
    messages.extend(end);
    batches.push(ItemBatch { messages, is_end });
    batches
}

fn end_of(stream: &str, reason: Option<&str>) -> OutgoingMessage {
    match reason {
        Some(reason) => OutgoingMessage::completion_error(stream, reason),
        None => {
            OutgoingMessage::completion(stream, None).expect("a completion without a result is always valid")
        }
    }
}

/// The result as `{result?, protocol?}`: if it cannot be converted to JSON, it is in base64, and `protocol` has its format.
fn answer(protocol: HubProtocol, result: Option<Bytes>) -> Result<String, Rejection> {
    use base64::Engine as _;
    let Some(result) = result else { return Ok("{}".to_owned()) };
    let json = match protocol {
        HubProtocol::Json => result.to_vec(),
        HubProtocol::MessagePack => {
            let mut json = Vec::new();
            msgpack_to_json(&result, &mut json).map_err(|error| {
                let message = format!("the client's result cannot be expressed in JSON: {error}");
                Rejection::new(&error_table::CLIENT_INVOCATION_FAILED, message)
            })?;
            json
        }
        HubProtocol::BlazorPack => {
            let result = base64::engine::general_purpose::STANDARD.encode(result);
            return Ok(serde_json::json!({ "result": result, "protocol": protocol.name() }).to_string());
        }
    };
    let json = String::from_utf8(json).map_err(|_| {
        Rejection::new(&error_table::CLIENT_INVOCATION_FAILED, "the client's result is not UTF-8")
    })?;
    Ok(format!("{{\"result\":{json}}}"))
}

/// The completion as the client sent it, framed in its own protocol.
fn completion(
    protocol: HubProtocol,
    invocation_id: &str,
    outcome: Result<Option<Bytes>, String>,
) -> Response<Body> {
    let result = match &outcome {
        Ok(Some(value)) => CompletionResult::Value(value.as_ref().into()),
        Ok(None) => CompletionResult::Void,
        Err(error) => CompletionResult::Error(error.into()),
    };
    let completion =
        signalr_protocol::Completion { headers: Vec::new(), invocation_id: invocation_id.into(), result };
    let mut framed = Vec::new();
    HubMessage::Completion(completion).encode(protocol, &mut framed);
    to_protocol::framed_result(protocol.name(), framed.into())
}

fn refused(error: ClientInvokeError) -> Rejection {
    let message = error.to_string();
    match error {
        ClientInvokeError::NotFound | ClientInvokeError::Disconnected => {
            Rejection::new(&error_table::ERROR_CONNECTION_NOT_EXISTED, message)
        }
        ClientInvokeError::Untranslatable => Rejection::new(&error_table::INVALID_BODY, message),
        // The SDK repeats a message whose status is above 500. An invocation that timed out may have been executed and must not
        // be repeated; the vendor's own time-outs have status 500 for this reason.
        ClientInvokeError::Timeout => Rejection::new(&error_table::INVOCATION_TIMEOUT, message),
        ClientInvokeError::TooMany => Rejection::new(&error_table::TOO_MANY_INVOCATIONS, message),
        ClientInvokeError::Stopped => Rejection::stopping(),
    }
}
