//! [`TraceSubscription`]: live events of the engine: connections, groups, messages. The live trace and the stream of connection
//! events are built on it.
//!
//! A subscription never slows a shard down: events that its reader does not read in time are dropped and counted. Without a
//! subscriber, an event costs one comparison.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use signalr_protocol::HubProtocol;
use tokio::sync::mpsc;

use super::{ConnectionId, EndReason, GroupName, Hub, Target, UserId};

/// Events that may be queued for one subscriber.
const EVENTS_WAITING_MAX: usize = 4096;

/// Which events a subscription receives; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// Only this hub.
    pub hub: Option<Hub>,
    /// Only events of this user.
    pub user: Option<UserId>,
    /// Only events of this group.
    pub group: Option<GroupName>,
    /// Only events of this connection.
    pub connection: Option<ConnectionId>,
    /// Whether messages are excluded, so that only connections and groups remain.
    pub presence_only: bool,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When it happened.
    pub at: SystemTime,
    /// The hub.
    pub hub: Hub,
    /// The connection; absent for a message to several.
    pub connection: Option<ConnectionId>,
    /// The connection's user.
    pub user: Option<UserId>,
    /// The event.
    pub event: TraceEventKind,
}

/// What an event reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEventKind {
    /// A connection has completed its handshake.
    Connected {
        /// Its hub protocol.
        protocol: HubProtocol,
        /// Its transport.
        transport: &'static str,
    },
    /// A stateful connection lost its socket (`false`), or has a new one (`true`).
    Attached(bool),
    /// A connection ended.
    Ended {
        /// The reason.
        reason: EndReason,
        /// The error, if it ended with one.
        error: Option<Box<str>>,
    },
    /// A connection became a member of a group.
    Joined(GroupName),
    /// A connection left a group.
    Left(GroupName),
    /// A message was appended for receivers.
    Sent {
        /// The target.
        to: Target,
        /// The method, if it is an invocation.
        method: Option<Box<str>>,
        /// The number of connections of one shard that receive it.
        receivers: u64,
    },
    /// A client sent a hub message.
    Received {
        /// The type of the message.
        message_type: u8,
        /// The method, if it is an invocation.
        method: Option<Box<str>>,
        /// Its size.
        bytes: u64,
    },
}

/// Receives events. Dropping it ends the subscription.
#[derive(Debug)]
pub struct TraceSubscription {
    events: mpsc::Receiver<TraceEvent>,
    missed: Arc<AtomicU64>,
}

/// A shard's end of a subscription.
#[derive(Clone, Debug)]
pub(crate) struct TraceSink {
    filter: Arc<TraceFilter>,
    events: mpsc::Sender<TraceEvent>,
    missed: Arc<AtomicU64>,
}

impl TraceSubscription {
    /// The next event; `None` when the engine has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<TraceEvent> {
        self.events.recv().await
    }

    /// The number of events to read.
    pub fn waiting(&self) -> usize {
        self.events.len()
    }

    /// The number of events that were dropped since the last call, because they were not read in time.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::AcqRel)
    }
}

/// A subscription and the sink for the shards.
pub(crate) fn subscription(filter: TraceFilter) -> (TraceSink, TraceSubscription) {
    let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
    let missed = Arc::new(AtomicU64::new(0));
    let sink = TraceSink { filter: Arc::new(filter), events: sender, missed: Arc::clone(&missed) };
    (sink, TraceSubscription { events, missed })
}

impl TraceSink {
    /// Sends an event to the subscriber if the filter matches it; returns whether there still is a subscriber.
    pub(crate) fn send(&self, event: &TraceEvent) -> bool {
        if self.filter.matches(event)
            && let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(event.clone())
        {
            self.missed.fetch_add(1, Ordering::AcqRel);
        }
        !self.events.is_closed()
    }

    pub(crate) fn wants_messages(&self) -> bool {
        !self.filter.presence_only
    }
}

impl TraceFilter {
    fn matches(&self, event: &TraceEvent) -> bool {
        let (group, user, connection) = match &event.event {
            TraceEventKind::Joined(group) | TraceEventKind::Left(group) => (Some(group), None, None),
            TraceEventKind::Sent { to: Target::Group(group), .. } => (Some(group), None, None),
            TraceEventKind::Sent { to: Target::User(user), .. } => (None, Some(user), None),
            TraceEventKind::Sent { to: Target::Connection(connection), .. } => {
                (None, None, Some(*connection))
            }
            _ => (None, None, None),
        };
        let is_message = matches!(event.event, TraceEventKind::Sent { .. } | TraceEventKind::Received { .. });
        !(self.presence_only && is_message)
            && self.hub.as_ref().is_none_or(|wanted| *wanted == event.hub)
            && self.group.as_ref().is_none_or(|wanted| Some(wanted) == group)
            && self.user.as_ref().is_none_or(|wanted| Some(wanted) == event.user.as_ref().or(user))
            && self.connection.is_none_or(|wanted| Some(wanted) == event.connection.or(connection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: TraceEventKind) -> TraceEvent {
        let hub = Hub::new(state::Instance::new("test").unwrap(), "chat");
        TraceEvent {
            at: SystemTime::UNIX_EPOCH,
            hub,
            connection: None,
            user: Some(UserId::new("ada")),
            event,
        }
    }

    #[tokio::test]
    async fn a_subscriber_receives_the_events_that_its_filter_matches() {
        let filter = TraceFilter {
            group: Some(GroupName::new("g")),
            user: Some(UserId::new("ada")),
            ..TraceFilter::default()
        };
        let (sink, mut subscription) = subscription(filter);
        for group in ["f", "g"] {
            assert!(sink.send(&event(TraceEventKind::Joined(GroupName::new(group)))));
        }
        assert!(sink.send(&event(TraceEventKind::Attached(true))));
        drop(sink);
        assert_eq!(
            subscription.next().await.map(|event| event.event),
            Some(TraceEventKind::Joined(GroupName::new("g")))
        );
        assert_eq!(subscription.next().await, None);
    }

    #[test]
    fn a_subscriber_that_does_not_read_is_told_how_many_events_it_missed() {
        let (sink, subscription) = subscription(TraceFilter::default());
        for _ in 0..EVENTS_WAITING_MAX + 3 {
            assert!(sink.send(&event(TraceEventKind::Attached(false))));
        }
        assert_eq!((subscription.take_missed(), subscription.take_missed()), (3, 0));
        drop(subscription);
        assert!(!sink.send(&event(TraceEventKind::Attached(false))), "the subscription has ended");
    }
}
