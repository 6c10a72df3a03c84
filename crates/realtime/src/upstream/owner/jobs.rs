//! What takes time: requests, records, dead letters. Each is a task that the owner awaits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http_messages::ErrorChain;
use state::RegistryError;

use super::answers::StreamedAnswer;
use super::{Call, Occurrence};
use crate::events::{ConnectionEvent, DeadLetter, LoadError, Place, Retry, Undelivered};
use crate::upstream::answer::{Awaited, ends_stream, error_for, to_client};
use crate::upstream::claims;
use crate::upstream::dispatcher::{Clients, Shared};
use crate::upstream::lanes::JobKey;
use crate::upstream::metrics::OperationLabels;
use crate::upstream::request::Content;
use crate::upstream::send::Begun;
use crate::upstream::template::Category;
use realtime_engine::{ClientConnection, ConnectionId};

/// What a task has to say when it ends.
pub(super) enum Done {
    Nothing,
    Finished(JobKey, Result<(), Undelivered>),
    /// The answer to a stream has begun; its call is done.
    Streams(JobKey, StreamedAnswer),
    /// An answer to a stream is not forwarded any more.
    Streamed(ConnectionId, Box<str>),
    Recorded(ConnectionId, Result<(), RegistryError>),
    Ended(Arc<Occurrence>),
    Loaded(Place, Result<Option<ConnectionEvent>, LoadError>),
}

pub(super) async fn deliver(shared: Arc<Shared>, key: JobKey, occurrence: Arc<Occurrence>) -> Done {
    let listener = &shared.listeners[usize::from(key.lane.listener)];
    let result = listener.deliver(&occurrence.event).await;
    if let Err(undelivered) = &result {
        let (listener, connection, event) =
            (listener.name(), key.lane.connection, occurrence.event.what.kind().name());
        tracing::debug!(listener, %connection, event, %undelivered, "an event did not arrive");
    }
    Done::Finished(key, result)
}

pub(super) async fn bury(
    shared: Arc<Shared>,
    key: JobKey,
    occurrence: Arc<Occurrence>,
    attempts: u32,
    cause: String,
) -> Done {
    let listener = shared.listeners[usize::from(key.lane.listener)].name();
    let event = &occurrence.event;
    let letter = DeadLetter::new(listener, event, attempts, &cause, SystemTime::now());
    let result = shared.dead_letters.append(&letter).await;
    let (connection, event) = (key.lane.connection, event.what.kind().name());
    match &result {
        Ok(()) => {
            tracing::warn!(listener, %connection, event, attempts, cause, "a connection event could not be delivered; it is among the dead letters");
        }
        Err(error) => {
            tracing::error!(listener, %connection, event, attempts, cause, error = %ErrorChain(error), "a connection event could not be delivered, nor put among the dead letters");
        }
    }
    let result =
        result.map_err(|error| Undelivered { cause: ErrorChain(&error).to_string(), retry: Retry::Later });
    Done::Finished(key, result)
}

pub(super) async fn call(shared: Arc<Shared>, clients: Arc<dyn Clients>, key: JobKey, call: Call) -> Done {
    let client = call.invocation.client.clone();
    let reply = if call.is_local {
        shared.metrics.answered_here.inc();
        let methods = shared.methods.get().expect("a call is local only where there are methods");
        methods.call(&call.method, call.invocation.clone()).await
    } else {
        // What came before it on this connection has been answered, or never will be.
        let awaited = call.still_awaited();
        let content =
            Content::message(client.protocol, call.invocation.payload.clone(), call.call_id.as_deref());
        let answer = match awaited {
            Awaited::Stream(_) => {
                let begun = shared.sender.begin(&client, Category::Messages, &call.method, content).await;
                match (begun, &awaited) {
                    (Ok(Begun { status: StatusCode::OK, body }), Awaited::Stream(id)) => {
                        let answer = StreamedAnswer { client, id: id.clone(), body };
                        return Done::Streams(key, answer);
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
                tracing::debug!(connection = %client.id, method = call.method, error = %ErrorChain(&failure), "an upstream could not be asked");
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
    Done::Finished(key, Ok(()))
}

/// Answers a client. What belongs to a stream goes by way of the table of streams, which learns of its end.
pub(super) async fn reply(
    clients: &dyn Clients,
    client: &ClientConnection,
    awaited: &Awaited,
    framed: Bytes,
) {
    match awaited {
        Awaited::Stream(id) => {
            let is_end = ends_stream(client.protocol, id, &framed);
            // Where it is not open any more, nobody waits for this.
            let _ = clients.send_in_stream(client, id, vec![framed], is_end, Duration::ZERO).await;
        }
        _ => clients.reply(client, framed).await,
    }
}

pub(super) async fn record(shared: Arc<Shared>, client: ClientConnection) -> Done {
    Done::Recorded(client.id, shared.records.open(&client).await)
}

pub(super) async fn end(shared: Arc<Shared>, occurrence: Arc<Occurrence>) -> Done {
    if let Err(error) = shared.records.end(&occurrence.event).await {
        // The record still says that it is open: should it not be told before the process ends, it is told without its reason.
        shared.metrics.record_failures.get_or_create(&OperationLabels { operation: "end" }).inc();
        tracing::warn!(error = %ErrorChain(&error), "the end of a connection could not be recorded");
    }
    Done::Ended(occurrence)
}

pub(super) async fn load(shared: Arc<Shared>, place: Place) -> Done {
    Done::Loaded(place, shared.records.load(place, SystemTime::now()).await)
}

pub(super) async fn forget(shared: Arc<Shared>, place: Place) -> Done {
    if let Err(error) = shared.records.forget(place).await {
        shared.metrics.record_failures.get_or_create(&OperationLabels { operation: "forget" }).inc();
        tracing::warn!(error = %ErrorChain(&error), "the record of a connection could not be removed; its end is told again after the next start");
    }
    Done::Nothing
}

pub(super) async fn trim(shared: Arc<Shared>) -> Done {
    if let Err(error) = shared.dead_letters.trim(SystemTime::now()).await {
        tracing::warn!(error = %ErrorChain(&error), "old dead letters of the realtime service could not be looked for");
    }
    Done::Nothing
}
