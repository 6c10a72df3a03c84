//! Appends published messages to the pending frames of their receivers.

use std::sync::Arc;

use super::Shard;
use super::encode::Encoded;
use super::flush::Appended;
use super::index::HubPolicy;
use super::keys::Slot;
use crate::publish::PublishJob;
use crate::{OutgoingMessage, SlowConsumer, StreamPosition};

impl Shard {
    /// Appends one message to the pending frames of each receiver. They are written at the end of the turn.
    pub(super) fn publish(&mut self, work: Arc<PublishJob>) {
        let mut one = [0];
        let receivers = self.index.receivers(&self.connections, &work.hub, &work.target, &mut one);
        let Some(&first) = receivers.first() else { return };
        let index_entry =
            self.connections[first as usize].index_entry().expect("members of a hub have an index entry");
        // Moved out of the shard while messages are appended, and put back at the end.
        let mut buffer = std::mem::take(&mut self.receivers);
        buffer.extend_from_slice(receivers);
        let mut receivers = buffer;
        if !work.excluded.is_empty() {
            receivers
                .retain(|slot| work.excluded.binary_search(&self.connections[*slot as usize].id).is_err());
        }
        if !work.excluded_users.is_empty() {
            let users = self.index.user_keys(&work.hub, &work.excluded_users);
            let is_excluded = |slot: &Slot| {
                let index_entry = self.connections[*slot as usize].index_entry();
                index_entry
                    .and_then(|index_entry| index_entry.user)
                    .is_some_and(|(user, _)| users.contains(&user))
            };
            receivers.retain(|slot| !is_excluded(slot));
        }
        let followers = match work.recorded_position {
            Some(recorded) => self.index.deliver_recorded(&work.hub, &work.target, recorded, &mut receivers),
            None => Vec::new(),
        };
        let policy = self.index.policy(index_entry.hub);
        let keyed = policy.slow_consumer == SlowConsumer::LatestByKey;
        let count = match receivers[..] {
            [slot] if self.is_own(&work.target, slot) => {
                self.append_own(slot, &mut Encoded::own(&work.message), policy)
            }
            _ => self.append_for(&receivers, &mut Encoded::new(&work.message, keyed), policy),
        };
        if let (Some(recorded), false) = (work.recorded_position, followers.is_empty()) {
            // The position to continue from: after this message.
            let next = StreamPosition { offset: recorded.offset + 1, ..recorded };
            let position = OutgoingMessage::position(&work.target, next);
            self.append_for(&followers, &mut Encoded::new(&position, keyed), policy);
        }
        receivers.clear();
        self.receivers = receivers;
        self.trace_sent(&work, count);
        if let Some(span) = &work.span {
            span.add_receivers(count);
            self.traced.push_back((self.dirtied, work));
        }
    }

    /// Appends a message to the pending frames of connections of one hub; returns their number.
    pub(super) fn append_for(
        &mut self,
        receivers: &[Slot],
        encoded: &mut Encoded<'_>,
        policy: HubPolicy,
    ) -> u64 {
        let mut count = 0;
        let mut full = Vec::new();
        for &slot in receivers {
            let Some(appender) = encoded.appender(self.connections[slot as usize].protocol) else {
                self.metrics.turn.untranslatable += 1;
                continue;
            };
            count += 1;
            if self.append(slot, appender, policy) != Appended::Waits {
                full.push(slot);
            }
        }
        for slot in full {
            let protocol = self.connections[slot as usize].protocol;
            if let Some(appender) = encoded.appender(protocol) {
                self.append_or_end(slot, appender);
            }
        }
        count
    }
}
