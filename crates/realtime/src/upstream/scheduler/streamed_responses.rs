//! [`StreamedResponses`]: the responses that are being forwarded to streams of clients.

use std::collections::HashMap;

use tokio::sync::oneshot;

use realtime_engine::ConnectionId;

/// The responses that are being forwarded. Dropping a sender cancels the forwarding.
#[derive(Debug, Default)]
pub(super) struct StreamedResponses {
    running: HashMap<ConnectionId, HashMap<Box<str>, oneshot::Sender<()>>>,
    pub(super) count: usize,
}

impl StreamedResponses {
    pub(super) fn insert(&mut self, connection: ConnectionId, id: Box<str>) -> oneshot::Receiver<()> {
        let (cancel, cancelled) = oneshot::channel();
        self.running.entry(connection).or_default().insert(id, cancel);
        self.count += 1;
        cancelled
    }

    /// The client has cancelled a stream.
    pub(super) fn cancel(&mut self, connection: ConnectionId, id: &str) {
        if let Some(streamed_responses) = self.running.get_mut(&connection) {
            streamed_responses.remove(id);
        }
    }

    /// The client has disconnected.
    pub(super) fn cancel_connection(&mut self, connection: ConnectionId) {
        self.running.remove(&connection);
    }

    pub(super) fn cancel_all(&mut self) {
        self.running.clear();
    }

    /// A task that forwarded a response has ended.
    pub(super) fn ended(&mut self, connection: ConnectionId, id: &str) {
        self.count -= 1;
        if let Some(streamed_responses) = self.running.get_mut(&connection) {
            // A later stream may have the same id.
            if streamed_responses.get(id).is_some_and(oneshot::Sender::is_closed) {
                streamed_responses.remove(id);
            }
            if streamed_responses.is_empty() {
                self.running.remove(&connection);
            }
        }
    }
}
