//! Sends events to the subscribers of the live trace and of presence.

use std::time::SystemTime;

use super::Shard;
use crate::publish::PublishJob;
use crate::trace_subscription::TraceSink;
use crate::{ClientConnection, TraceEvent, TraceEventKind};

impl Shard {
    pub(super) fn add_trace_sink(&mut self, sink: TraceSink) {
        self.trace_sinks.push(sink);
        self.index.watch(true);
    }

    /// Sends an event about a client. The event is built only if there is a subscriber.
    pub(super) fn trace(&mut self, client: &ClientConnection, event: impl FnOnce() -> TraceEventKind) {
        if self.trace_sinks.is_empty() {
            return;
        }
        // First the changes of groups that happened before.
        self.trace_group_changes();
        self.emit(&TraceEvent {
            at: SystemTime::now(),
            hub: client.hub.clone(),
            connection: Some(client.id),
            user: client.user.clone(),
            event: event(),
        });
    }

    /// Sends the event of a message that was published.
    pub(super) fn trace_sent(&mut self, work: &PublishJob, receivers: u64) {
        if !self.trace_sinks.iter().any(TraceSink::wants_messages) {
            return;
        }
        let event = TraceEventKind::Sent {
            to: work.target.clone(),
            method: work.message.method().map(Into::into),
            receivers,
        };
        self.emit(&TraceEvent {
            at: SystemTime::now(),
            hub: work.hub.clone(),
            connection: None,
            user: None,
            event,
        });
    }

    /// Sends the events of changes of groups since the last call.
    pub(super) fn trace_group_changes(&mut self) {
        if self.trace_sinks.is_empty() {
            return;
        }
        for change in self.index.take_changes() {
            let event = if change.joined {
                TraceEventKind::Joined(change.group)
            } else {
                TraceEventKind::Left(change.group)
            };
            self.emit(&TraceEvent {
                at: SystemTime::now(),
                hub: change.hub,
                connection: Some(change.connection),
                user: change.user,
                event,
            });
        }
    }

    fn emit(&mut self, event: &TraceEvent) {
        self.trace_sinks.retain(|sink| sink.send(event));
        if self.trace_sinks.is_empty() {
            self.index.watch(false);
        }
    }
}
