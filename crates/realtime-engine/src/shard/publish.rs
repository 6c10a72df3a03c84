//! Appends published messages to what is pending for their receivers.

use std::sync::Arc;

use super::Shard;
use super::encode::Encoded;
use super::flush::Appended;
use super::index::HubPolicy;
use super::keys::Slot;
use crate::publish::PublishJob;
use crate::{OutgoingMessage, SlowConsumer, StreamPosition};

impl Shard {
    /// Appends one message to what is pending for each receiver. The writes come at the end of the turn.
    pub(super) fn publish(&mut self, work: Arc<PublishJob>) {
        let mut one = [0];
        let receivers = self.index.receivers(&self.connections, &work.hub, &work.target, &mut one);
        let Some(&first) = receivers.first() else { return };
        let index_entry =
            self.connections[first as usize].index_entry().expect("members of a hub have places");
        // Moved out of the index while receivers are written to; nothing but this turn's end changes it.
        let mut lent = std::mem::take(&mut self.receivers);
        lent.extend_from_slice(receivers);
        let mut receivers = lent;
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
        let followers = match work.kept {
            Some(kept) => self.index.pass_kept(&work.hub, &work.target, kept, &mut receivers),
            None => Vec::new(),
        };
        let policy = self.index.policy(index_entry.hub);
        let keyed = policy.slow_consumer == SlowConsumer::LatestByKey;
        let count = match receivers[..] {
            [slot] if self.is_own(&work.target, slot) => {
                self.hand_own(slot, &mut Encoded::own(&work.message), policy)
            }
            _ => self.hand_to(&receivers, &mut Encoded::new(&work.message, keyed), policy),
        };
        if let (Some(kept), false) = (work.kept, followers.is_empty()) {
            // The position to continue from: behind this message.
            let next = StreamPosition { offset: kept.offset + 1, ..kept };
            let position = OutgoingMessage::position(&work.target, next);
            self.hand_to(&followers, &mut Encoded::new(&position, keyed), policy);
        }
        receivers.clear();
        self.receivers = receivers;
        self.trace_sent(&work, count);
        if let Some(span) = &work.span {
            span.add_receivers(count);
            self.traced.push_back((self.dirtied, work));
        }
    }

    /// Appends a message to what is pending for connections of one hub; returns for how many.
    pub(super) fn hand_to(
        &mut self,
        receivers: &[Slot],
        encoded: &mut Encoded<'_>,
        policy: HubPolicy,
    ) -> u64 {
        let mut count = 0;
        let mut full = Vec::new();
        for &slot in receivers {
            let Some(step) = encoded.step(self.connections[slot as usize].protocol) else {
                self.metrics.turn.untranslatable += 1;
                continue;
            };
            count += 1;
            if self.append(slot, step, policy) != Appended::Waits {
                full.push(slot);
            }
        }
        for slot in full {
            let protocol = self.connections[slot as usize].protocol;
            if let Some(step) = encoded.step(protocol) {
                self.append_or_end(slot, step);
            }
        }
        count
    }
}
