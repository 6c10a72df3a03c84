//! [`Shared`]: the state that the dispatcher, the scheduler and its jobs share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::connection_queues::QueueLimits;
use super::input_queue::InputQueue;
use super::methods::{self, Methods};
use super::metrics::{CauseLabels, Metrics};
use super::options::Options;
use super::send::Sender;
use super::template::Category;
use crate::events::{self, ConnectionListener, DeadLetters, EventKind, Records};
use realtime_engine::{Hub, InvocationRejection};

/// Longest method name for upstreams, in bytes: it is part of a header and often of the URL.
const METHOD_BYTES_MAX: usize = 1024;

/// The state that the dispatcher, the scheduler and its jobs share.
pub(crate) struct Shared {
    pub(crate) inputs: InputQueue,
    pub(crate) sender: Arc<Sender>,
    pub(crate) listeners: Vec<Arc<dyn ConnectionListener>>,
    pub(crate) methods: OnceLock<Arc<dyn Methods>>,
    pub(crate) records: Records,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) options: Options,
    pub(crate) event_options: events::Options,
    pub(crate) metrics: Metrics,
}

impl Shared {
    /// Whether a listener subscribes to connection events of a hub.
    pub(crate) fn has_listener_for(&self, hub: &Hub) -> bool {
        self.subscribes_to(hub, EventKind::Connected) || self.subscribes_to(hub, EventKind::Disconnected)
    }

    /// Whether any listener is configured.
    pub(crate) fn has_listener(&self) -> bool {
        // The first one is the upstream, which receives nothing without templates and without upstreams of this process.
        self.listeners.len() > 1 || self.sender.has_upstreams()
    }

    pub(crate) fn subscribes_to(&self, hub: &Hub, kind: EventKind) -> bool {
        self.listeners.iter().any(|listener| listener.subscribes_to(hub, kind))
    }

    /// The limits of the queues.
    pub(crate) fn limits(&self) -> QueueLimits {
        QueueLimits {
            in_flight_max: self.options.in_flight_max.get(),
            wait_max: Duration::from_millis(self.options.wait_timeout_ms.get()),
            connected_wait_max: Duration::from_millis(self.options.connected_wait_timeout_ms.get()),
        }
    }

    /// Whether this process handles the method itself.
    pub(crate) fn is_local(&self, method: &str) -> bool {
        self.methods.get().is_some() && methods::is_own(method)
    }

    pub(crate) fn refuse(&self, cause: &'static str) {
        self.metrics.refused_calls.get_or_create(&CauseLabels { cause }).inc();
    }

    /// Why an invocation cannot be sent to an upstream; `None` if it can.
    pub(super) fn refusal(&self, hub: &Hub, method: &str) -> Option<InvocationRejection> {
        if method.len() > METHOD_BYTES_MAX {
            self.refuse("method_too_long");
            return Some(InvocationRejection(format!(
                "the name of the method has {} bytes, more than the {METHOD_BYTES_MAX} allowed for upstreams",
                method.len()
            )));
        }
        if !self.sender.has_upstream(hub.name(), Category::Messages, method) {
            self.refuse("no_template");
            return Some(InvocationRejection(format!(
                "no upstream is configured for method '{method}' of hub {hub}; add a template that matches it to realtime.upstream.templates, or a function with a signalRTrigger for it"
            )));
        }
        None
    }
}
