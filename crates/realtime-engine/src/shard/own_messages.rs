//! Messages of an app server to one client alone: items of its streams, results of its invocations, and messages to its
//! connection.
//!
//! A slow client may miss broadcasts or be closed because of them, but should receive its own messages. So more bytes of them may
//! be pending than of broadcasts, and its app server is asked to send more slowly ([`SendRate`]). The client is closed only if it
//! reads nothing for some time, or if the limit of pending bytes of the process is reached.

use std::sync::Arc;

use super::Shard;
use super::connection::TransportState;
use super::due::{Verdict, due};
use super::encode::Encoded;
use super::flush::Appended;
use super::index::HubPolicy;
use super::keys::Slot;
use super::pending::Backlog;
use crate::{AppServer, EndReason, SendRate, SlowConsumer, Target};

/// Above this part of the limit of a client's pending bytes, its server is paused instead of slowed down.
const STOP_DIVISOR: usize = 4;

impl Shard {
    /// Whether a publish is a message of an app server to its client alone.
    pub(super) fn is_own(&self, target: &Target, receiver: Slot) -> bool {
        matches!(target, Target::Connection(_)) && self.connections[receiver as usize].server().is_some()
    }

    /// Appends a message of its app server to the pending frames of a client; returns the number of clients for which it is
    /// pending (0 or 1).
    pub(super) fn append_own(&mut self, slot: Slot, encoded: &mut Encoded<'_>, policy: HubPolicy) -> u64 {
        let Some(appender) = encoded.appender(self.connections[slot as usize].protocol) else {
            self.metrics.turn.untranslatable += 1;
            return 0;
        };
        let bytes = appender.frame().len();
        let run_bytes =
            self.connections[slot as usize].frame_list.as_ref().map_or(0, |frame_list| frame_list.bytes());
        if run_bytes > 0 && run_bytes + bytes > policy.pending_bytes_max {
            self.flush(slot);
        }
        if !self.connections.contains(slot as usize) {
            return 0;
        }
        if let Err(why) = self.check_own_limits(slot, bytes) {
            self.end_slow_reader(slot, &why);
            return 0;
        }
        // The limit was checked above.
        let own =
            HubPolicy { pending_bytes_max: usize::MAX, slow_consumer: SlowConsumer::Disconnect, ..policy };
        if self.append(slot, appender, own) != Appended::Waits {
            self.end(slot, EndReason::SlowConsumer);
            return 0;
        }
        if matches!(self.connections[slot as usize].transport, TransportState::Http(_)) {
            // A frame list does not distinguish it from broadcasts; the HTTP transport's backlog does.
            self.flush(slot);
        }
        self.update_send_rate(slot, policy);
        1
    }

    fn check_own_limits(&self, slot: Slot, bytes: usize) -> Result<(), String> {
        let options = &self.settings.options;
        let waiting = self.waiting_bytes(slot);
        let most = options.own_pending_bytes_max as usize;
        if waiting > 0 && waiting + bytes > most {
            return Err(format!(
                "more than {most} bytes are pending for this client (engine.own_pending_bytes_max): its app server sends faster than it reads"
            ));
        }
        let total = options.own_pending_bytes_total;
        let (all, most) = match &self.connections[slot as usize].transport {
            // Bytes of HTTP transports are counted for all shards together.
            TransportState::Http(_) => {
                (u64::try_from(self.settings.metrics.http_pending_bytes.get()).unwrap_or_default(), total)
            }
            TransportState::Socket(_) | TransportState::Detached { .. } => {
                (self.pending_bytes + self.buffered_own_bytes, total / u64::from(options.shard_count()))
            }
        };
        if waiting.max(self.buffered_bytes(slot)) > 0 && all + bytes as u64 > most {
            return Err(format!(
                "more than {total} bytes are pending for slow clients, this one among them (engine.own_pending_bytes_total)"
            ));
        }
        Ok(())
    }

    /// All pending bytes of a client.
    fn waiting_bytes(&self, slot: Slot) -> usize {
        let connection = &self.connections[slot as usize];
        match &connection.transport {
            TransportState::Http(http) => http.bytes(),
            TransportState::Socket(_) | TransportState::Detached { .. } => {
                connection.backlog.as_ref().map_or(0, |backlog| backlog.bytes())
            }
        }
    }

    /// Bytes of its app server that are buffered because a stateful client has not acknowledged them.
    fn buffered_bytes(&self, slot: Slot) -> usize {
        let connection = &self.connections[slot as usize];
        if !connection.is_stateful {
            return 0;
        }
        let stateful = connection.rare().and_then(|rare| rare.stateful.as_ref());
        stateful.map_or(0, |stateful| stateful.own_bytes())
    }

    /// Notifies a client's app server of the rate at which it may send, if that has changed.
    pub(super) fn update_send_rate(&mut self, slot: Slot, policy: HubPolicy) {
        let (waiting, buffered) = (self.waiting_bytes(slot), self.buffered_bytes(slot));
        let connection = &mut self.connections[slot as usize];
        let most = self.settings.options.own_pending_bytes_max as usize;
        let buffered_max = self.settings.options.stateful_bytes_max as usize;
        let send_rate = if waiting.max(buffered) > (most / STOP_DIVISOR).max(policy.pending_bytes_max) {
            SendRate::Paused
        } else if waiting > policy.pending_bytes_max || buffered > buffered_max {
            connection.send_rate.max(SendRate::Reduced)
        } else if waiting > policy.pending_bytes_max / 2 || buffered > buffered_max / 2 {
            // Half of the limit, so that the rate does not change with each message.
            connection.send_rate
        } else {
            SendRate::Full
        };
        if send_rate == connection.send_rate {
            return;
        }
        if connection.send_rate == SendRate::Full {
            self.slow_readers.push((slot, connection.generation));
        }
        connection.send_rate = send_rate;
        let (id, server) = (connection.id, connection.server().cloned());
        if let Some(server) = server {
            server.send_rate(id, send_rate);
        }
    }

    /// As [`Shard::update_send_rate`], when a slow client has read something.
    pub(super) fn raise_send_rate(&mut self, slot: Slot) {
        if self
            .connections
            .get(slot as usize)
            .is_some_and(|connection| connection.send_rate != SendRate::Full)
        {
            self.update_send_rate(slot, self.policy(slot));
        }
    }

    /// Checks the clients whose app servers were slowed down: those that have read nothing for too long are closed.
    pub(super) fn check_slow_readers(&mut self) {
        if self.slow_readers.is_empty() {
            return;
        }
        let mut slow_readers = std::mem::take(&mut self.slow_readers);
        slow_readers.retain(|&(slot, generation)| {
            let same = self.connections.get(slot as usize).is_some_and(|one| one.generation == generation);
            if !same {
                return false;
            }
            self.raise_send_rate(slot);
            let connection = &self.connections[slot as usize];
            if connection.send_rate == SendRate::Full || connection.is_closing() {
                return false;
            }
            let verdict = due(&self.slow_reader_view(slot), self.now);
            self.perform(slot, verdict);
            verdict != Verdict::EndStalledReader
        });
        self.slow_readers.append(&mut slow_readers);
    }

    /// Closes a client that has read nothing for too long.
    pub(super) fn end_stalled_reader(&mut self, slot: Slot) {
        let limit_ms = self.settings.options.own_stalled_timeout_ms;
        let why = format!(
            "the client has read nothing for {limit_ms} ms (engine.own_stalled_timeout_ms), while messages of its app server are pending"
        );
        self.end_slow_reader(slot, &why);
    }

    /// Closes a client that does not read its own messages. Its app server is notified, and the client too, if it reads again in
    /// time.
    fn end_slow_reader(&mut self, slot: Slot, why: &str) {
        let connection = &mut self.connections[slot as usize];
        let server: Option<Arc<dyn AppServer>> = connection.server().cloned();
        let id = connection.id;
        connection.frame_list = None;
        if let Some(backlog) = &mut connection.backlog {
            self.pending_bytes -= backlog.drop_unstarted() as u64;
        }
        if let TransportState::Http(http) = &connection.transport {
            http.put(Backlog::drop_unstarted);
        }
        if let Some(server) = server {
            server.overflowed(id, why);
        }
        self.close(slot, EndReason::SlowConsumer, Some(why), true);
    }
}
