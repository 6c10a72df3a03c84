//! How far connections are on record: from their opening to the moment when nobody is owed anything.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_messages::ErrorChain;
use state::RegistryError;

use super::{Occurrence, Owner, jobs};
use crate::events::{ConnectionEvent, EventKind, Happened, LoadError, Place};
use crate::upstream::lanes::LaneKey;
use crate::upstream::metrics::OperationLabels;
use realtime_engine::{ClientConnection, ConnectionId, EndReason};

/// How long it takes before a record that could not be read is read again.
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A connection whose end somebody wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its record is being written; perhaps it is gone already.
    Opening { is_gone: bool },
    /// Its record is there, and its handshake may be answered.
    Recorded,
    /// Its handshake was answered.
    Connected,
}

impl Owner {
    pub(super) fn on_opening(&mut self, client: ClientConnection) {
        self.standings.insert(client.id, Standing::Opening { is_gone: false });
        self.jobs.spawn(jobs::record(Arc::clone(&self.shared), client));
    }

    pub(super) fn on_recorded(&mut self, connection: ConnectionId, result: Result<(), RegistryError>) {
        let Some(standing) = self.standings.get_mut(&connection) else { return };
        let is_gone = *standing == Standing::Opening { is_gone: true };
        let answer = match result {
            Ok(()) if is_gone => {
                self.standings.remove(&connection);
                return self.forget(self.shared.records.place(connection));
            }
            Ok(()) => {
                *standing = Standing::Recorded;
                Ok(())
            }
            Err(error) => {
                self.standings.remove(&connection);
                self.count_failure("open");
                tracing::error!(%connection, error = %ErrorChain(&error), "a connection could not be recorded, and was refused");
                Err("the connection cannot be recorded, so that nobody could be told of its end; the service's disk may be full, try again later".to_owned())
            }
        };
        if !is_gone {
            let clients = Arc::clone(&self.clients);
            self.jobs.spawn(async move {
                clients.opened(connection, answer).await;
                jobs::Done::Nothing
            });
        }
    }

    pub(super) fn on_connected(&mut self, client: ClientConnection) {
        if let Some(standing) = self.standings.get_mut(&client.id) {
            *standing = Standing::Connected;
        }
        let (connection, hub) = (client.id, client.hub.clone());
        let event = ConnectionEvent { client, what: Happened::Connected, at: Self::now() };
        let occurrence = Arc::new(Occurrence { event, place: None });
        let now = Instant::now();
        for listener in self.listeners_of(&hub, EventKind::Connected) {
            let (key, occurrence) = (LaneKey { connection, listener }, Arc::clone(&occurrence));
            if self.has_room() {
                self.lanes.event(key, EventKind::Connected, occurrence, now);
            } else {
                self.lanes.give_up(key, EventKind::Connected, occurrence, self.no_room(), now);
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
        self.answers.cancel_those_of(client.id);
        match self.standings.remove(&client.id) {
            // Nobody wants to hear of it, or it was refused.
            None => {}
            Some(Standing::Opening { .. }) => {
                self.standings.insert(client.id, Standing::Opening { is_gone: true });
            }
            // Nobody was told that it is there.
            Some(Standing::Recorded) => self.forget(self.shared.records.place(client.id)),
            Some(Standing::Connected) => {
                let place = Some(self.shared.records.place(client.id));
                let what = Happened::Disconnected { reason: Cow::Borrowed(reason.name()), error };
                let event = ConnectionEvent { client, what, at: Self::now() };
                let occurrence = Arc::new(Occurrence { event, place });
                self.jobs.spawn(jobs::end(Arc::clone(&self.shared), occurrence));
            }
        }
    }

    /// The end stands on disk, so that it cannot be lost any more.
    pub(super) fn on_ended(&mut self, occurrence: Arc<Occurrence>) {
        let place = occurrence.place.expect("an end has a record");
        if self.has_room() {
            self.tell_end(place, &occurrence, true);
        } else if self.parked.len() < self.shared.event_options.parked_max.get() {
            self.parked.push_back(place);
        } else {
            self.tell_end(place, &occurrence, false);
        }
    }

    pub(super) fn on_loaded(&mut self, place: Place, result: Result<Option<ConnectionEvent>, LoadError>) {
        self.loading -= 1;
        match result {
            Ok(None) => {}
            Ok(Some(event)) => {
                let occurrence = Arc::new(Occurrence { event, place: Some(place) });
                self.tell_end(place, &occurrence, true);
            }
            Err(LoadError::Unreadable(error)) => {
                self.count_failure("read");
                tracing::warn!(connection = %place.connection, %error, "the end of a connection cannot be told; its record is left where it is");
            }
            Err(error) => {
                self.count_failure("read");
                tracing::warn!(error = %ErrorChain(&error), "the record of a connection could not be read; it is tried again");
                self.parked.push_back(place);
                self.load_again_at = Instant::now() + LOAD_AGAIN_AFTER;
            }
        }
    }

    /// Reads ends that wait on disk, as far as there is room for them.
    pub(super) fn load_parked(&mut self, now: Instant) {
        while self.load_again_at <= now
            && self.has_room()
            && let Some(place) = self.parked.pop_front()
        {
            self.loading += 1;
            self.jobs.spawn(jobs::load(Arc::clone(&self.shared), place));
        }
    }

    /// One of the listeners has heard of an end, or never will.
    pub(super) fn on_told(&mut self, place: Place) {
        let Some(owed) = self.owed.get_mut(&place) else { return };
        *owed -= 1;
        if *owed == 0 {
            self.owed.remove(&place);
            self.forget(place);
        }
    }

    /// Gives an end to the lanes of its listeners; without `has_room` only to be buried.
    fn tell_end(&mut self, place: Place, occurrence: &Arc<Occurrence>, has_room: bool) {
        let (kind, now) = (EventKind::Disconnected, Instant::now());
        let listeners = self.listeners_of(&occurrence.event.client.hub, kind);
        if listeners.is_empty() {
            // The configuration has changed since.
            return self.forget(place);
        }
        self.owed.insert(place, listeners.len());
        for listener in listeners {
            let key = LaneKey { connection: place.connection, listener };
            if has_room {
                self.lanes.event(key, kind, Arc::clone(occurrence), now);
            } else {
                self.lanes.give_up(key, kind, Arc::clone(occurrence), self.no_room(), now);
            }
        }
    }

    fn listeners_of(&self, hub: &realtime_engine::Hub, kind: EventKind) -> Vec<u8> {
        let numbered = (0..=u8::MAX).zip(&self.shared.listeners);
        numbered.filter(|(_, listener)| listener.wants(hub, kind)).map(|(number, _)| number).collect()
    }

    fn has_room(&self) -> bool {
        self.lanes.events() + self.loading < self.shared.event_options.pending_max.get()
    }

    fn no_room(&self) -> String {
        format!("{} events wait already (realtime.events.pending_max)", self.shared.event_options.pending_max)
    }

    fn forget(&mut self, place: Place) {
        self.jobs.spawn(jobs::forget(Arc::clone(&self.shared), place));
    }

    fn count_failure(&self, operation: &'static str) {
        self.shared.metrics.record_failures.get_or_create(&OperationLabels { operation }).inc();
    }
}
