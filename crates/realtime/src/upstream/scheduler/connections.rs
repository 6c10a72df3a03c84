//! The records of connections: from their handshake to the delivery of `disconnected` to every listener.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_messages::ErrorChain;
use state::RegistryError;

use super::connection_progress::ConnectionProgress;
use super::work::{JobResult, RecordedEvent};
use super::{Scheduler, jobs};
use crate::events::{ConnectionChange, ConnectionEvent, EventKind, LoadRecordError, RecordKey};
use crate::upstream::connection_queues::QueueKey;
use crate::upstream::metrics::OperationLabels;
use realtime_engine::{ClientConnection, ConnectionId, EndReason};
use tracing::Instrument as _;

/// Delay before a record that could not be read is read again.
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(5);

impl Scheduler {
    pub(super) fn on_opening(&mut self, client: ClientConnection) {
        self.connection_progress.insert(client.id, ConnectionProgress::Opening { is_gone: false });
        let fields = jobs::log_fields(&client);
        self.jobs.spawn(jobs::record(Arc::clone(&self.shared), client).instrument(fields));
    }

    pub(super) fn on_recorded(&mut self, connection: ConnectionId, result: Result<(), RegistryError>) {
        let Some(progress) = self.connection_progress.get_mut(&connection) else { return };
        let is_gone = *progress == ConnectionProgress::Opening { is_gone: true };
        let answer = match result {
            Ok(()) if is_gone => {
                self.connection_progress.remove(&connection);
                return self.forget(self.shared.records.record_key(connection));
            }
            Ok(()) => {
                *progress = ConnectionProgress::Recorded;
                Ok(())
            }
            Err(error) => {
                self.connection_progress.remove(&connection);
                self.count_failure("open");
                tracing::error!(%connection, error = %ErrorChain(&error), "a connection could not be recorded, and was rejected");
                Err("the connection cannot be recorded, which its `disconnected` event needs; the disk of the service may be full; try again later".to_owned())
            }
        };
        if !is_gone {
            let clients = Arc::clone(&self.clients);
            self.jobs.spawn(async move {
                clients.opened(connection, answer).await;
                JobResult::Nothing
            });
        }
    }

    pub(super) fn on_connected(&mut self, client: ClientConnection) {
        if let Some(progress) = self.connection_progress.get_mut(&client.id) {
            *progress = ConnectionProgress::Connected;
        }
        let (connection, hub) = (client.id, client.hub.clone());
        let event = ConnectionEvent { client, change: ConnectionChange::Connected, at: Self::now() };
        let recorded = Arc::new(RecordedEvent { event, record_key: None });
        let now = Instant::now();
        for listener in self.listeners_of(&hub, EventKind::Connected) {
            let (key, recorded) = (QueueKey { connection, listener }, Arc::clone(&recorded));
            if self.has_room() {
                self.queues.push_event(key, EventKind::Connected, recorded, now);
            } else {
                self.queues.push_dead_letter(key, EventKind::Connected, recorded, self.no_room(), now);
            }
        }
    }

    pub(super) fn on_disconnected(
        &mut self,
        client: ClientConnection,
        reason: EndReason,
        error: Option<Box<str>>,
    ) {
        self.streams.remove(&client.id);
        self.streamed_responses.cancel_connection(client.id);
        match self.connection_progress.remove(&client.id) {
            // No listener subscribes to its events, or it was rejected.
            None => {}
            Some(ConnectionProgress::Opening { .. }) => {
                self.connection_progress.insert(client.id, ConnectionProgress::Opening { is_gone: true });
            }
            // No listener has received its `connected`.
            Some(ConnectionProgress::Recorded) => self.forget(self.shared.records.record_key(client.id)),
            Some(ConnectionProgress::Connected) => {
                let record_key = Some(self.shared.records.record_key(client.id));
                let what = ConnectionChange::Disconnected { reason: Cow::Borrowed(reason.name()), error };
                let event = ConnectionEvent { client, change: what, at: Self::now() };
                let recorded = Arc::new(RecordedEvent { event, record_key });
                let fields = jobs::log_fields(&recorded.event.client);
                self.jobs.spawn(jobs::end(Arc::clone(&self.shared), recorded).instrument(fields));
            }
        }
    }

    /// The `disconnected` is recorded on disk and cannot be lost any more.
    pub(super) fn on_ended(&mut self, recorded: Arc<RecordedEvent>) {
        let record_key = recorded.record_key.expect("a `disconnected` has a record");
        if self.has_room() {
            self.deliver_end(record_key, &recorded, true);
        } else if self.parked.len() < self.shared.event_options.parked_max.get() {
            self.parked.push_back(record_key);
        } else {
            self.deliver_end(record_key, &recorded, false);
        }
    }

    pub(super) fn on_loaded(
        &mut self,
        record_key: RecordKey,
        result: Result<Option<ConnectionEvent>, LoadRecordError>,
    ) {
        self.loading -= 1;
        match result {
            Ok(None) => {}
            Ok(Some(event)) => {
                let recorded = Arc::new(RecordedEvent { event, record_key: Some(record_key) });
                self.deliver_end(record_key, &recorded, true);
            }
            Err(LoadRecordError::Unreadable(error)) => {
                self.count_failure("read");
                tracing::warn!(connection = %record_key.connection, %error, "the `disconnected` of a connection cannot be delivered, because its record cannot be read; the record is kept");
            }
            Err(error) => {
                self.count_failure("read");
                tracing::warn!(error = %ErrorChain(&error), "the record of a connection could not be read; it is read again later");
                self.parked.push_back(record_key);
                self.load_again_at = Instant::now() + LOAD_AGAIN_AFTER;
            }
        }
    }

    /// Reads `disconnected` events that wait on disk, up to the limit of events in memory.
    pub(super) fn load_parked(&mut self, now: Instant) {
        while self.load_again_at <= now
            && self.has_room()
            && let Some(record_key) = self.parked.pop_front()
        {
            self.loading += 1;
            self.jobs.spawn(jobs::load(Arc::clone(&self.shared), record_key));
        }
    }

    /// A listener has received a `disconnected`, or it became a dead letter.
    pub(super) fn on_delivered(&mut self, record_key: RecordKey) {
        let Some(undelivered) = self.undelivered.get_mut(&record_key) else { return };
        *undelivered -= 1;
        if *undelivered == 0 {
            self.undelivered.remove(&record_key);
            self.forget(record_key);
        }
    }

    /// Queues a `disconnected` for its listeners; if `has_room` is false, it becomes a dead letter.
    fn deliver_end(&mut self, record_key: RecordKey, recorded: &Arc<RecordedEvent>, has_room: bool) {
        let (kind, now) = (EventKind::Disconnected, Instant::now());
        let listeners = self.listeners_of(&recorded.event.client.hub, kind);
        if listeners.is_empty() {
            // The configuration has changed since it was recorded.
            return self.forget(record_key);
        }
        self.undelivered.insert(record_key, listeners.len());
        for listener in listeners {
            let key = QueueKey { connection: record_key.connection, listener };
            if has_room {
                self.queues.push_event(key, kind, Arc::clone(recorded), now);
            } else {
                self.queues.push_dead_letter(key, kind, Arc::clone(recorded), self.no_room(), now);
            }
        }
    }

    fn listeners_of(&self, hub: &realtime_engine::Hub, kind: EventKind) -> Vec<u8> {
        let numbered = (0..=u8::MAX).zip(&self.shared.listeners);
        numbered.filter(|(_, listener)| listener.subscribes_to(hub, kind)).map(|(number, _)| number).collect()
    }

    fn has_room(&self) -> bool {
        self.queues.events() + self.loading < self.shared.event_options.pending_max.get()
    }

    fn no_room(&self) -> String {
        format!(
            "too many events wait; the limit is {} (realtime.events.pending_max)",
            self.shared.event_options.pending_max
        )
    }

    fn forget(&mut self, record_key: RecordKey) {
        self.jobs.spawn(jobs::forget(Arc::clone(&self.shared), record_key));
    }

    fn count_failure(&self, operation: &'static str) {
        self.shared.metrics.record_failures.get_or_create(&OperationLabels { operation }).inc();
    }
}
