//! Jobs of the scheduler: requests, records, dead letters. Each is a task that the scheduler awaits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http_messages::ErrorChain;

use super::work::{JobResult, RecordedEvent, StreamedResponse, UpstreamInvocation};
use crate::events::{DeadLetter, DeliveryError, RecordKey, Retry};
use crate::upstream::claims;
use crate::upstream::clients::Clients;
use crate::upstream::connection_queues::SerialQueueKey;
use crate::upstream::metrics::OperationLabels;
use crate::upstream::request::Content;
use crate::upstream::response::{Awaited, ends_stream, error_for, to_client};
use crate::upstream::send::ResponseHead;
use crate::upstream::shared::Shared;
use crate::upstream::template::Category;
use realtime_engine::ClientConnection;

/// A span with the fields of a client's log lines. Its level is `error`, so that every line that is logged carries them.
pub(super) fn log_fields(client: &ClientConnection) -> tracing::Span {
    tracing::error_span!("connection", hub = client.hub.name(), connection = %client.id)
}

pub(super) async fn deliver(
    shared: Arc<Shared>,
    key: SerialQueueKey,
    recorded: Arc<RecordedEvent>,
) -> JobResult {
    let listener = &shared.listeners[usize::from(key.queue.listener)];
    let result = listener.deliver(&recorded.event).await;
    if let Err(failure) = &result {
        let (listener, connection, event) =
            (listener.name(), key.queue.connection, recorded.event.change.kind().name());
        tracing::debug!(listener, %connection, event, %failure, "a connection event was not delivered");
    }
    JobResult::Finished(key, result)
}

pub(super) async fn write_dead_letter(
    shared: Arc<Shared>,
    key: SerialQueueKey,
    recorded: Arc<RecordedEvent>,
    attempts: u32,
    cause: String,
) -> JobResult {
    let listener = shared.listeners[usize::from(key.queue.listener)].name();
    let event = &recorded.event;
    let letter = DeadLetter::new(listener, event, attempts, &cause, SystemTime::now());
    let result = shared.dead_letters.append(&letter).await;
    let (connection, event) = (key.queue.connection, event.change.kind().name());
    match &result {
        Ok(()) => {
            tracing::warn!(listener, %connection, event, attempts, cause, "a connection event could not be delivered; it was added to the dead letters");
        }
        Err(error) => {
            tracing::error!(listener, %connection, event, attempts, cause, error = %ErrorChain(error), "a connection event could not be delivered, nor added to the dead letters");
        }
    }
    let result =
        result.map_err(|error| DeliveryError { cause: ErrorChain(&error).to_string(), retry: Retry::Later });
    JobResult::Finished(key, result)
}

pub(super) async fn call(
    shared: Arc<Shared>,
    clients: Arc<dyn Clients>,
    key: SerialQueueKey,
    call: UpstreamInvocation,
) -> JobResult {
    let client = call.invocation.client.clone();
    let reply = if call.is_local {
        shared.metrics.answered_here.inc();
        let methods = shared.methods.get().expect("an invocation is local only if there are methods");
        methods.call(&call.method, call.invocation.clone()).await
    } else {
        // Earlier invocations of this connection are complete, or have failed.
        let awaited = call.still_awaited();
        let content =
            Content::message(client.protocol, call.invocation.payload.clone(), call.call_id.as_deref());
        let answer = match awaited {
            Awaited::Stream(_) => {
                let begun = shared.sender.begin(&client, Category::Messages, &call.method, content).await;
                match (begun, &awaited) {
                    (Ok(ResponseHead { status: StatusCode::OK, body }), Awaited::Stream(id)) => {
                        let answer = StreamedResponse { client, id: id.clone(), body };
                        return JobResult::Streams(key, answer);
                    }
                    (begun, _) => begun.map(|begun| (begun.status, Bytes::new())),
                }
            }
            _ => {
                let answer = shared.sender.send(&client, Category::Messages, &call.method, content).await;
                answer.map(|answer| (answer.status, answer.body))
            }
        };
        let reply: Result<Option<Bytes>, String> = match answer {
            Ok((status, body)) => {
                to_client(client.protocol, &awaited, status, &body).map_err(|error| error.to_string())
            }
            Err(failure) => {
                tracing::debug!(connection = %client.id, method = call.method, error = %ErrorChain(&failure), "the request to an upstream failed");
                let token = client
                    .client_context
                    .as_ref()
                    .map(|client_context| claims::parse(&client_context.claims));
                Err(failure.for_client(token.is_some_and(|token| claims::asks_for_details(&token))))
            }
        };
        reply.unwrap_or_else(|error| error_for(client.protocol, &awaited, &error))
    };
    if let Some(framed) = reply {
        call.is_answered();
        self::reply(&*clients, &client, &call.awaited, framed).await;
    }
    drop(call.load);
    JobResult::Finished(key, Ok(()))
}

/// Sends a response to a client. Messages of a stream pass through the table of streams, which records the stream's end.
pub(super) async fn reply(
    clients: &dyn Clients,
    client: &ClientConnection,
    awaited: &Awaited,
    framed: Bytes,
) {
    match awaited {
        Awaited::Stream(id) => {
            let is_end = ends_stream(client.protocol, id, &framed);
            // The stream may have been closed meanwhile.
            let _ = clients.send_in_stream(client, id, vec![framed], is_end, Duration::ZERO).await;
        }
        _ => clients.reply(client, framed).await,
    }
}

pub(super) async fn record(shared: Arc<Shared>, client: ClientConnection) -> JobResult {
    JobResult::Recorded(client.id, shared.records.open(&client).await)
}

pub(super) async fn end(shared: Arc<Shared>, recorded: Arc<RecordedEvent>) -> JobResult {
    if let Err(error) = shared.records.end(&recorded.event).await {
        // The record still says that the connection is open: after a crash its `disconnected` has no reason.
        shared.metrics.record_failures.get_or_create(&OperationLabels { operation: "end" }).inc();
        tracing::warn!(error = %ErrorChain(&error), "the end of a connection could not be recorded");
    }
    JobResult::Ended(recorded)
}

pub(super) async fn load(shared: Arc<Shared>, record_key: RecordKey) -> JobResult {
    JobResult::Loaded(record_key, shared.records.load(record_key, SystemTime::now()).await)
}

pub(super) async fn forget(shared: Arc<Shared>, record_key: RecordKey) -> JobResult {
    if let Err(error) = shared.records.forget(record_key).await {
        shared.metrics.record_failures.get_or_create(&OperationLabels { operation: "forget" }).inc();
        tracing::warn!(error = %ErrorChain(&error), "the record of a connection could not be removed; its `disconnected` is delivered again after the next start");
    }
    JobResult::Nothing
}

pub(super) async fn trim(shared: Arc<Shared>) -> JobResult {
    if let Err(error) = shared.dead_letters.trim(SystemTime::now()).await {
        tracing::warn!(error = %ErrorChain(&error), "old dead letters of the realtime service could not be removed");
    }
    JobResult::Nothing
}
