//! Answers to streams that are forwarded as they come, beside whatever the client calls next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_messages::ErrorChain;
use tokio::sync::oneshot;

use super::jobs::{self, Done};
use super::{Owner, number};
use crate::upstream::answer::{Awaited, StreamReader, error_for};
use crate::upstream::claims;
use crate::upstream::dispatcher::{Clients, Shared};
use crate::upstream::send::SendFailure;
use realtime_engine::{ClientConnection, ConnectionId};

/// Bytes that are given to the engine at once, so that a client that reads slowly is waited for in time.
const PIECE_BYTES: usize = 64 * 1024;

/// An answer to a stream of which the head has come.
pub(super) struct StreamedAnswer {
    pub(super) client: ClientConnection,
    /// The invocation id of the stream.
    pub(super) id: Box<str>,
    pub(super) body: http_messages::Body,
}

/// The answers that are being forwarded. Dropping a sender ends its answer.
#[derive(Debug, Default)]
pub(super) struct Answers {
    running: HashMap<ConnectionId, HashMap<Box<str>, oneshot::Sender<()>>>,
    count: usize,
}

impl Answers {
    fn insert(&mut self, connection: ConnectionId, id: Box<str>) -> oneshot::Receiver<()> {
        let (cancel, cancelled) = oneshot::channel();
        self.running.entry(connection).or_default().insert(id, cancel);
        self.count += 1;
        cancelled
    }

    /// The client wants no more of a stream.
    pub(super) fn cancel(&mut self, connection: ConnectionId, id: &str) {
        if let Some(answers) = self.running.get_mut(&connection) {
            answers.remove(id);
        }
    }

    /// The client is gone.
    pub(super) fn cancel_those_of(&mut self, connection: ConnectionId) {
        self.running.remove(&connection);
    }

    pub(super) fn cancel_all(&mut self) {
        self.running.clear();
    }

    /// A task that forwarded an answer has ended.
    fn ended(&mut self, connection: ConnectionId, id: &str) {
        self.count -= 1;
        if let Some(answers) = self.running.get_mut(&connection) {
            // A later stream may have the same id.
            if answers.get(id).is_some_and(oneshot::Sender::is_closed) {
                answers.remove(id);
            }
            if answers.is_empty() {
                self.running.remove(&connection);
            }
        }
    }
}

impl Owner {
    /// Forwards an answer as it comes.
    pub(super) fn stream(&mut self, answer: StreamedAnswer) {
        if self.is_stopping {
            return;
        }
        let clients = Arc::clone(&self.clients);
        if self.answers.count >= self.shared.options.streamed_answers_max.get() {
            self.shared.refuse("streamed_answers");
            let StreamedAnswer { client, id, .. } = answer;
            self.jobs.spawn(async move {
                let why = "Invocation failed, too many streams are being answered; try again later";
                fail(&*clients, &client, id, why).await;
                Done::Nothing
            });
            return;
        }
        let cancelled = self.answers.insert(answer.client.id, answer.id.clone());
        self.shared.metrics.streamed_answers.set(number(self.answers.count));
        let shared = Arc::clone(&self.shared);
        self.jobs.spawn(async move {
            let (connection, id) = (answer.client.id, answer.id.clone());
            tokio::select! {
                () = forward(&shared, &*clients, answer) => {}
                _ = cancelled => {}
            }
            Done::Streamed(connection, id)
        });
    }

    pub(super) fn on_streamed(&mut self, connection: ConnectionId, id: &str) {
        self.answers.ended(connection, id);
        self.shared.metrics.streamed_answers.set(number(self.answers.count));
    }
}

/// Reads an answer part by part, and sends on what is whole. Ends with the answer, with the stream, or when the client has gone.
async fn forward(shared: &Shared, clients: &dyn Clients, answer: StreamedAnswer) {
    let StreamedAnswer { client, id, mut body } = answer;
    let patience = shared.sender.timeout;
    // Its client may have cancelled it, or left, before the answer began.
    if !clients.send_in_stream(&client, &id, Vec::new(), false, Duration::ZERO).await {
        return;
    }
    let mut reader = StreamReader::new(client.protocol, id.clone(), shared.sender.answer_bytes_max);
    loop {
        let part = match tokio::time::timeout(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            Ok(None) => match reader.finish() {
                // What is still to come, comes over REST.
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

/// Ends a stream whose answer does not go on.
async fn lose(clients: &dyn Clients, client: &ClientConnection, id: Box<str>, failure: SendFailure) {
    tracing::debug!(connection = %client.id, error = %ErrorChain(&failure), "the answer to a stream did not go on");
    let token = client.client_context.as_ref().map(|client_context| claims::parse(&client_context.claims));
    let with_details = token.is_some_and(|token| claims::asks_for_details(&token));
    fail(clients, client, id, &failure.for_client(with_details)).await;
}

/// Messages in pieces of [`PIECE_BYTES`], each of at least one.
fn pieces(messages: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let (mut pieces, mut bytes): (Vec<Vec<Bytes>>, usize) = (Vec::new(), usize::MAX);
    for message in messages {
        match pieces.last_mut() {
            Some(piece) if bytes.saturating_add(message.len()) <= PIECE_BYTES => {
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
