//! [`Dispatcher`]: the engine's upstream. It receives invocations and connection events from the threads of the shards, and owns the scheduler.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use state::RegistryError;
use supervision::Supervisor;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::clients::Clients;
use super::in_process::InProcessUpstream;
use super::input_queue::{Input, InputQueue};
use super::methods::Methods;
use super::metrics::Metrics;
use super::options::Options;
use super::scheduler::Scheduler;
use super::send::Sender;
use super::shared::Shared;
use super::template::UpstreamTemplates;
use super::webhook::Webhook;
use crate::events::{self, ConnectionListener, DeadLetters, EventKind, Records};
use realtime_engine::{
    Capacity, ClientConnection, ClientInvocation, EndReason, HandshakeDecision, Hub, InvocationRejection,
    NoUpstream, Upstream,
};

/// Dispatches invocations to upstreams and to methods of this process, and connection events to listeners. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatcher(Arc<Shared>);

/// Owns the scheduler's task.
#[derive(Debug)]
pub(crate) struct Join {
    dispatcher: Dispatcher,
    stop: oneshot::Sender<()>,
    scheduler: JoinHandle<()>,
}

/// What a dispatcher needs.
pub(crate) struct Dependencies {
    pub(crate) sender: Sender,
    /// Listeners for connection events, besides the upstreams.
    pub(crate) listeners: Vec<Arc<dyn ConnectionListener>>,
    pub(crate) records: Records,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) options: Options,
    pub(crate) event_options: events::Options,
    pub(crate) metrics: Metrics,
}

impl Dispatcher {
    pub(crate) fn new(dependencies: Dependencies) -> Self {
        let Dependencies { sender, mut listeners, records, dead_letters, options, event_options, metrics } =
            dependencies;
        let sender = Arc::new(sender);
        // The first listener: its events and the invocations share a pair of queues.
        listeners.insert(0, Arc::new(Webhook(Arc::clone(&sender))));
        let inputs = InputQueue::new(&options, metrics.clone());
        let methods = OnceLock::new();
        Self(Arc::new(Shared {
            inputs,
            sender,
            listeners,
            methods,
            records,
            dead_letters,
            options,
            event_options,
            metrics,
        }))
    }

    /// Adds an upstream of this process.
    pub(crate) fn add_in_process(&self, upstream: Arc<dyn InProcessUpstream>) {
        self.0.sender.in_process.add(upstream);
    }

    /// The events that could not be delivered.
    pub(crate) fn dead_letters(&self) -> &DeadLetters {
        &self.0.dead_letters
    }

    /// Starts the scheduler: it handles new inputs, and the events that earlier processes did not deliver. `methods` handles the
    /// invocations for which [`is_own`](super::methods::is_own) is true.
    ///
    /// # Errors
    ///
    /// If the records of earlier processes cannot be read.
    pub(crate) async fn run(
        &self,
        clients: Arc<dyn Clients>,
        methods: Option<Arc<dyn Methods>>,
        supervisor: &Supervisor,
    ) -> Result<Join, RegistryError> {
        if let Some(methods) = methods {
            // `run` is called once.
            let _ = self.0.methods.set(methods);
        }
        let records_of_earlier_processes =
            self.0.records.records_of_earlier_processes(self.0.event_options.parked_max.get()).await?;
        let (stop, stopped) = oneshot::channel();
        let scheduler = Scheduler::new(Arc::clone(&self.0), clients, records_of_earlier_processes);
        let supervisor = supervisor.clone();
        let scheduler = tokio::spawn(async move {
            // The supervisor already knows that it ended.
            let _ = supervisor.essential("upstreams", |unit| scheduler.run(stopped, unit)).await;
        });
        Ok(Join { dispatcher: self.clone(), stop, scheduler })
    }
}

impl Join {
    /// Drains the scheduler; call it after the engine has ended. Waits for running jobs and starts no retries; a pending
    /// `disconnected` is delivered after the next start. Jobs that still run after `cut_after` are aborted.
    pub(crate) async fn drain(self, cut_after: Duration) {
        let Self { dispatcher, stop, mut scheduler } = self;
        dispatcher.0.inputs.close();
        drop(stop);
        match tokio::time::timeout(cut_after, &mut scheduler).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the scheduler of upstreams panicked"),
            Err(_late) => {
                tracing::warn!(
                    "upstreams did not respond before the shutdown; pending `disconnected` events are delivered after the next start"
                );
                scheduler.abort();
                // Awaited only so that the task has ended.
                let _ = scheduler.await;
            }
        }
        dispatcher.0.sender.in_process.clear();
    }
}

#[cfg(test)]
impl Join {
    /// Aborts the scheduler, as a crash would.
    pub(crate) fn abort(&self) {
        self.scheduler.abort();
    }
}

impl Dispatcher {
    /// Replaces the templates of upstreams.
    pub(crate) fn set_templates(&self, templates: UpstreamTemplates) {
        self.0.sender.set_templates(templates);
    }
}

impl Upstream for Dispatcher {
    fn invoke(&self, invocation: ClientInvocation) -> Result<Capacity, InvocationRejection> {
        let shared = &self.0;
        if shared.inputs.is_closed() {
            return Err(InvocationRejection(
                "the service is shutting down; reconnect and repeat the invocation".to_owned(),
            ));
        }
        // A message without a method belongs to a stream; the scheduler knows the stream's method.
        if let Some(method) = invocation.target.as_deref().filter(|method| !shared.is_local(method)) {
            if shared.sender.templates().is_empty() && !shared.sender.concerns(invocation.client.hub.name()) {
                shared.refuse("no_template");
                return NoUpstream.invoke(invocation);
            }
            if let Some(refusal) = shared.refusal(&invocation.client.hub, method) {
                return Err(refusal);
            }
        }
        let found = shared.inputs.reserve(invocation.client.id, invocation.payload.len());
        let Some((load, room)) = found else {
            shared.refuse("queue_full");
            return Err(InvocationRejection(
                "too many invocations wait for upstreams; try again later".to_owned(),
            ));
        };
        shared.inputs.push(Input::Invocation(Box::new(invocation), load));
        Ok(room)
    }

    fn keeps_client_context(&self, hub: &Hub) -> bool {
        self.0.sender.concerns(hub.name()) || self.0.has_listener_for(hub)
    }

    fn connecting(&self, connection: &ClientConnection) -> HandshakeDecision {
        // A listener of `disconnected` must receive it even after a crash; the record makes that possible.
        if !self.0.subscribes_to(&connection.hub, EventKind::Disconnected) {
            return HandshakeDecision::Accept;
        }
        self.0.inputs.push(Input::Opening(connection.clone()));
        HandshakeDecision::Wait
    }

    fn connected(&self, connection: &ClientConnection) {
        if self.0.has_listener_for(&connection.hub) {
            self.0.inputs.push(Input::Connected(connection.clone()));
        }
    }

    fn disconnected(&self, connection: &ClientConnection, reason: EndReason, error: Option<&str>) {
        // Queued also without a listener: the scheduler then removes the streams of the connection.
        let error = error.map(Into::into);
        self.0.inputs.push(Input::Disconnected { client: connection.clone(), reason, error });
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("sender", &self.0.sender).finish_non_exhaustive()
    }
}
