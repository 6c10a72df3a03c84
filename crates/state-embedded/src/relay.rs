//! The [`Relay`] of a single node: publishers put references into their subscribers' bounded queues.
//!
//! No file, no thread. A publisher only ever takes two short locks: the table's and a subscription's, in this order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock, Weak};

use state::{Instance, Name, RelayError, RelayMessage, Subscription};
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// The in-process relay.
pub(crate) struct Relay {
    table: Arc<RwLock<Table>>,
    pending_max: usize,
    metrics: Metrics,
}

#[derive(Default)]
struct Table {
    subjects: HashMap<(Instance, Name), Vec<Arc<Inbox>>>,
    closed: bool,
}

/// What one subscription has not read yet.
struct Inbox {
    state: Mutex<InboxState>,
    arrived: Notify,
    pending_max: usize,
}

#[derive(Default)]
struct InboxState {
    /// Messages, each with the number dropped just before it.
    messages: VecDeque<(RelayMessage, u64)>,
    /// Dropped since the last message in the queue.
    missed: u64,
    closed: bool,
}

struct Subscriber {
    inbox: Arc<Inbox>,
    home: (Instance, Name),
    table: Weak<RwLock<Table>>,
}

impl Relay {
    pub(crate) fn new(pending_max: usize, metrics: Metrics) -> Self {
        Self { table: Arc::default(), pending_max, metrics }
    }

    /// Ends all subscriptions and refuses further calls.
    pub(crate) fn close(&self) {
        let mut table = self.table.write().expect("no thread panics with the relay's lock");
        table.closed = true;
        for inbox in table.subjects.drain().flat_map(|(_, inboxes)| inboxes) {
            inbox.state.lock().expect("no thread panics with an inbox's lock").closed = true;
            inbox.arrived.notify_one();
        }
    }
}

#[async_trait::async_trait]
impl state::Relay for Relay {
    async fn publish(&self, instance: &Instance, message: RelayMessage) -> Result<(), RelayError> {
        let table = self.table.read().expect("no thread panics with the relay's lock");
        if table.closed {
            return Err(RelayError::Closed);
        }
        self.metrics.relay_published.inc();
        let home = (instance.clone(), message.subject.clone());
        for inbox in table.subjects.get(&home).into_iter().flatten() {
            if !inbox.push(&message) {
                self.metrics.relay_dropped.inc();
            }
        }
        Ok(())
    }

    async fn subscribe(
        &self,
        instance: &Instance,
        subject: &Name,
        pending_max: usize,
    ) -> Result<Box<dyn Subscription>, RelayError> {
        let mut table = self.table.write().expect("no thread panics with the relay's lock");
        if table.closed {
            return Err(RelayError::Closed);
        }
        let inbox = Arc::new(Inbox {
            state: Mutex::default(),
            arrived: Notify::new(),
            pending_max: pending_max.clamp(1, self.pending_max),
        });
        let home = (instance.clone(), subject.clone());
        table.subjects.entry(home.clone()).or_default().push(inbox.clone());
        Ok(Box::new(Subscriber { inbox, home, table: Arc::downgrade(&self.table) }))
    }
}

impl Inbox {
    /// Whether there was room.
    fn push(&self, message: &RelayMessage) -> bool {
        let mut state = self.state.lock().expect("no thread panics with an inbox's lock");
        if state.messages.len() >= self.pending_max {
            state.missed += 1;
            return false;
        }
        let missed = std::mem::take(&mut state.missed);
        state.messages.push_back((message.clone(), missed));
        drop(state);
        self.arrived.notify_one();
        true
    }
}

#[async_trait::async_trait]
impl Subscription for Subscriber {
    async fn next(&mut self) -> Option<(RelayMessage, u64)> {
        loop {
            {
                let mut state = self.inbox.state.lock().expect("no thread panics with an inbox's lock");
                if let Some(next) = state.messages.pop_front() {
                    return Some(next);
                }
                if state.closed {
                    return None;
                }
            }
            // `Notify` keeps one wake-up, so a push between the look and this wait is not lost.
            self.inbox.arrived.notified().await;
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else { return };
        let mut table = table.write().expect("no thread panics with the relay's lock");
        if let Some(inboxes) = table.subjects.get_mut(&self.home) {
            inboxes.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
            if inboxes.is_empty() {
                table.subjects.remove(&self.home);
            }
        }
    }
}
