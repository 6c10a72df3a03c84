//! What a shard shows to whoever looks: the taps of the live trace and of presence.

use std::time::SystemTime;

use super::Shard;
use crate::publish::Work;
use crate::trace_subscription::Sink;
use crate::{ClientConnection, TraceEvent, TraceEventKind};

impl Shard {
    pub(super) fn add_tap(&mut self, tap: Sink) {
        self.taps.push(tap);
        self.index.watch(true);
    }

    /// Shows what happened to a client. Nothing is made where nobody looks.
    pub(super) fn show(&mut self, client: &ClientConnection, event: impl FnOnce() -> TraceEventKind) {
        if self.taps.is_empty() {
            return;
        }
        // First what happened before: a group is left before its member ends.
        self.show_changes();
        self.show_sight(&TraceEvent {
            at: SystemTime::now(),
            hub: client.hub.clone(),
            connection: Some(client.id),
            user: client.user.clone(),
            event: event(),
        });
    }

    /// Shows a message that was handed to receivers.
    pub(super) fn show_sent(&mut self, work: &Work, receivers: u64) {
        if !self.taps.iter().any(Sink::wants_messages) {
            return;
        }
        let event = TraceEventKind::Sent {
            to: work.target.clone(),
            method: work.message.method().map(Into::into),
            receivers,
        };
        self.show_sight(&TraceEvent {
            at: SystemTime::now(),
            hub: work.hub.clone(),
            connection: None,
            user: None,
            event,
        });
    }

    /// Shows who joined and left groups since this was last called.
    pub(super) fn show_changes(&mut self) {
        if self.taps.is_empty() {
            return;
        }
        for change in self.index.take_changes() {
            let event = if change.joined {
                TraceEventKind::Joined(change.group)
            } else {
                TraceEventKind::Left(change.group)
            };
            self.show_sight(&TraceEvent {
                at: SystemTime::now(),
                hub: change.hub,
                connection: Some(change.connection),
                user: change.user,
                event,
            });
        }
    }

    fn show_sight(&mut self, sight: &TraceEvent) {
        self.taps.retain(|tap| tap.show(sight));
        if self.taps.is_empty() {
            self.index.watch(false);
        }
    }
}
