//! Forwards streamed responses while they are received, in parallel with the client's next invocations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_messages::ErrorChain;

use super::work::{JobResult, StreamedResponse, number};
use super::{Scheduler, jobs};
use crate::upstream::claims;
use crate::upstream::clients::Clients;
use crate::upstream::response::{Awaited, StreamReader, error_for};
use crate::upstream::send::SendFailure;
use crate::upstream::shared::Shared;
use realtime_engine::{ClientConnection, ConnectionId};

/// Bytes passed to the engine at a time; between two parts the sender waits for a client that reads slowly.
const PART_BYTES: usize = 64 * 1024;

impl Scheduler {
    /// Forwards a streamed response while it is received.
    pub(super) fn stream(&mut self, answer: StreamedResponse) {
        if self.is_stopping {
            return;
        }
        let clients = Arc::clone(&self.clients);
        if self.streamed_responses.count >= self.shared.options.streamed_answers_max.get() {
            self.shared.refuse("streamed_answers");
            let StreamedResponse { client, id, .. } = answer;
            self.jobs.spawn(async move {
                let why =
                    "Invocation failed, too many streamed responses are being forwarded; try again later";
                fail(&*clients, &client, id, why).await;
                JobResult::Nothing
            });
            return;
        }
        let cancelled = self.streamed_responses.insert(answer.client.id, answer.id.clone());
        self.shared.metrics.streamed_answers.set(number(self.streamed_responses.count));
        let shared = Arc::clone(&self.shared);
        self.jobs.spawn(async move {
            let (connection, id) = (answer.client.id, answer.id.clone());
            tokio::select! {
                () = forward(&shared, &*clients, answer) => {}
                _ = cancelled => {}
            }
            JobResult::Streamed(connection, id)
        });
    }

    pub(super) fn on_streamed(&mut self, connection: ConnectionId, id: &str) {
        self.streamed_responses.ended(connection, id);
        self.shared.metrics.streamed_answers.set(number(self.streamed_responses.count));
    }
}

/// Reads a response part by part, and forwards complete messages. Ends with the response, with the stream, or when the client has
/// disconnected.
async fn forward(shared: &Shared, clients: &dyn Clients, answer: StreamedResponse) {
    let StreamedResponse { client, id, mut body } = answer;
    let patience = shared.sender.timeout;
    // The client may have cancelled the stream, or disconnected, before the response began.
    if !clients.send_in_stream(&client, &id, Vec::new(), false, Duration::ZERO).await {
        return;
    }
    let mut reader = StreamReader::new(client.protocol, id.clone(), shared.sender.answer_bytes_max);
    loop {
        let part = match tokio::time::timeout(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(None) => match reader.finish() {
                // The app sends the rest over REST.
                Ok(()) => return,
                Err(error) => return fail(clients, &client, id, &error.to_string()).await,
            },
            Ok(Some(Err(cause))) => return lose(clients, &client, id, SendFailure::Broken(cause)).await,
            Err(_late) => return lose(clients, &client, id, SendFailure::Timeout(patience)).await,
        };
        let (completed, result) = reader.feed(&part);
        let is_end = completed.is_end && result.is_ok();
        let pieces = pieces(completed.messages);
        let last = pieces.len().saturating_sub(1);
        for (at, piece) in pieces.into_iter().enumerate() {
            let ends = is_end && at == last;
            if !clients.send_in_stream(&client, &id, piece, ends, patience).await {
                return;
            }
        }
        if let Err(error) = result {
            return fail(clients, &client, id, &error.to_string()).await;
        }
    }
}

/// Ends a stream with an error.
async fn fail(clients: &dyn Clients, client: &ClientConnection, id: Box<str>, error: &str) {
    let awaited = Awaited::Stream(id);
    if let Some(framed) = error_for(client.protocol, &awaited, error) {
        jobs::reply(clients, client, &awaited, framed).await;
    }
}

/// Ends a stream whose response was interrupted.
async fn lose(clients: &dyn Clients, client: &ClientConnection, id: Box<str>, failure: SendFailure) {
    tracing::debug!(connection = %client.id, error = %ErrorChain(&failure), "a streamed response was interrupted");
    let token = client.client_context.as_ref().map(|client_context| claims::parse(&client_context.claims));
    let with_details = token.is_some_and(|token| claims::asks_for_details(&token));
    fail(clients, client, id, &failure.for_client(with_details)).await;
}

/// Splits messages into parts of about [`PART_BYTES`], each with at least one message.
fn pieces(messages: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let (mut pieces, mut bytes): (Vec<Vec<Bytes>>, usize) = (Vec::new(), usize::MAX);
    for message in messages {
        match pieces.last_mut() {
            Some(piece) if bytes.saturating_add(message.len()) <= PART_BYTES => {
                bytes += message.len();
                piece.push(message);
            }
            _ => {
                bytes = message.len();
                pieces.push(vec![message]);
            }
        }
    }
    pieces
}
