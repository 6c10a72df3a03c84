//! Functions with pushed events: [`PushTable`] finds the function for a request, [`PushedFunction`] invokes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use functions_contract::{PushError, PushEvent, PushFunction, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error_table::declaration;
use crate::from_protocol::value;
use crate::function_error::FunctionError;
use crate::invoke::{Function, InvocationError, Invoker, TriggerData};
use crate::metrics::{PushEnd, PushLabels};
use crate::shutdown::Shutdown;
use crate::to_protocol::{binding_data, trigger_metadata, typed_data};
use crate::worker::{CancellationToken, InvokeError};

/// The functions with pushed events, by extension and address.
#[derive(Default)]
pub(crate) struct PushTable {
    functions: BTreeMap<(&'static str, String), Arc<Function>>,
}

impl PushTable {
    /// The table of the enabled functions, which are in the order of their names, and the names of those that wait for the events of
    /// an earlier one, with the reason.
    pub(crate) fn new(functions: &[Arc<Function>]) -> (Self, Vec<(String, FunctionError)>) {
        let (mut table, mut conflicting) = (Self::default(), Vec::new());
        for function in functions.iter().filter(|function| !function.declaration.is_disabled) {
            let Some(push) = &function.push else { continue };
            let extension = push.extension.name();
            let addresses = push.trigger.addresses();
            let key = |address: &String| (extension, address.clone());
            let earlier = addresses.iter().find_map(|address| table.functions.get(&key(address)));
            if let Some(earlier) = earlier {
                let why = format!(
                    "it waits for the same events as the function '{}', which is first by name and gets them. Change or remove one of \
                     the two",
                    earlier.name()
                );
                conflicting.push((
                    function.name().to_owned(),
                    FunctionError::new(&declaration::EVENTS_CONFLICT, why),
                ));
                continue;
            }
            table.functions.extend(addresses.iter().map(|address| (key(address), Arc::clone(function))));
        }
        (table, conflicting)
    }

    pub(crate) fn find(&self, extension: &'static str, address: String) -> Option<&Arc<Function>> {
        self.functions.get(&(extension, address))
    }

    /// Whether any function waits for events of an extension.
    pub(crate) fn has(&self, extension: &str) -> bool {
        self.functions.keys().any(|(name, _)| *name == extension)
    }

    /// The names of the extensions with a webhook that some function needs.
    pub(crate) fn webhooks(&self) -> Vec<&'static str> {
        let with_webhook = self.functions.values().filter_map(|function| {
            function.push.as_ref().map(|push| &push.extension).filter(|extension| extension.has_webhook())
        });
        let mut names: Vec<_> = with_webhook.map(|extension| extension.name()).collect();
        names.dedup();
        names
    }
}

/// A function that takes the events of one request.
pub(crate) struct PushedFunction {
    pub(crate) function: Arc<Function>,
    pub(crate) invoker: Invoker,
    /// Tells that the host, or the generation of the function, is being stopped.
    pub(crate) stop: Shutdown,
    /// Limits active and waiting requests and events.
    pub(crate) outstanding: Arc<Semaphore>,
    /// Limits those whose function runs.
    pub(crate) concurrent: Option<Arc<Semaphore>>,
}

impl PushedFunction {
    async fn permits(&self) -> Result<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>), PushError> {
        let outstanding =
            Arc::clone(&self.outstanding).try_acquire_owned().map_err(|_| PushError::Overloaded)?;
        let concurrent = match &self.concurrent {
            Some(limit) => Arc::clone(limit).acquire_owned().await.ok(),
            None => None,
        };
        Ok((outstanding, concurrent))
    }

    async fn call(&self, event: PushEvent) -> Result<Value, PushError> {
        if self.stop.is_requested() {
            return Err(PushError::Unavailable("the functions host is being stopped".to_owned()));
        }
        let permits = self.permits().await?;
        let (_canceller, cancellation) = CancellationToken::channel();
        let mut trigger_data = trigger_data(event, &self.function);
        trigger_data.options.cancellation = cancellation;
        let (function, invoker) = (Arc::clone(&self.function), self.invoker.clone());
        let drain_guard = invoker.active.delay_drain();
        let mut stop = self.stop.clone();
        // A sender that leaves cancels the invocation, but its end is still awaited and recorded.
        let call = tokio::spawn(async move {
            let result = invoker.invoke_with_retry(&function, trigger_data, &mut stop).await;
            drop((drain_guard, permits));
            result
        });
        match call.await {
            Ok(Ok(returned)) => Ok(value(returned.value)),
            Ok(Err(error)) => Err(push_error(&error)),
            Err(_) => Err(PushError::Host("the invocation failed; see the log of the host".to_owned())),
        }
    }
}

#[async_trait::async_trait]
impl PushFunction for PushedFunction {
    fn name(&self) -> &str {
        self.function.name()
    }

    async fn invoke(&self, event: PushEvent) -> Result<Value, PushError> {
        let result = self.call(event).await;
        let ended = match &result {
            Ok(_) => PushEnd::Succeeded,
            Err(PushError::Function { .. }) => PushEnd::Failed,
            Err(PushError::Overloaded) => PushEnd::Overloaded,
            Err(PushError::Unavailable(_)) => PushEnd::Unavailable,
            Err(_) => PushEnd::HostFailed,
        };
        let labels = PushLabels { function: self.function.name().to_owned(), ended };
        self.invoker.metrics.push_events.get_or_create(&labels).inc();
        result
    }
}

fn trigger_data(event: PushEvent, function: &Function) -> TriggerData {
    let PushEvent { data, metadata, reason, parent, links } = event;
    TriggerData {
        metadata: trigger_metadata(&metadata),
        binding_data: if function.needs_binding_data {
            binding_data(&data, &metadata)
        } else {
            <_>::default()
        },
        data: typed_data(data, function.declaration.trigger_spec.data_type),
        reason,
        parent,
        links,
        ..TriggerData::default()
    }
}

fn push_error(error: &InvocationError) -> PushError {
    match error {
        InvocationError::Function { result } => PushError::Function { message: result.message().to_owned() },
        InvocationError::Worker { cause: InvokeError::WorkerGone { .. } | InvokeError::NoWorker { .. } } => {
            PushError::Unavailable("the worker of the function app is not available".to_owned())
        }
        InvocationError::Worker { cause: InvokeError::Draining } => {
            PushError::Unavailable("the functions host is being stopped".to_owned())
        }
        other => PushError::Host(other.with_causes()),
    }
}
