//! Invocations: reads the inputs, invokes the function in a worker, writes the outputs; with span, log lines and metrics.

mod active;
mod error;
mod observe;
mod repeat;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::Uri;
use serde_json::{Map, Value as Json};
use tokio::sync::Semaphore;
use trace::{Span, TraceContext, Tracer};
use tracing::Instrument as _;
use worker_protocol::{
    FunctionId, InvocationId, InvocationRequest, InvocationResponse, ParameterBinding, RetryContext,
    TypedData,
};

use crate::expression::SystemValues;
use crate::from_protocol::items;
use crate::function::{Binding, Declaration};
use crate::log::{Level, Logs};
use crate::metrics::{FunctionLabel, InvocationLabels, InvocationOutcome, Metrics};
use crate::push_binding::PushBinding;
use crate::to_protocol::typed_data;
use crate::usage::{FunctionMeter, MeasuredExecution};
use crate::worker::{InvocationMeasure, InvokeOptions};
use crate::workers::Workers;
pub(crate) use active::{ActiveInvocations, DrainGuard};
pub(crate) use error::InvocationError;
use functions_contract::{BindingContext, Reader, Sink};
pub(crate) use observe::WorkerLog;

/// A function that can be invoked: its declaration with the readers and sinks of its bindings.
pub(crate) struct Function {
    pub(crate) declaration: Declaration,
    pub(crate) inputs: Vec<(Binding, Arc<dyn Reader>)>,
    pub(crate) outputs: Vec<(Binding, Arc<dyn Sink>)>,
    /// Its trigger, if its events are pushed.
    pub(crate) push: Option<PushBinding>,
    /// Whether a binding has an expression that binding data may resolve. Determined once: other functions' requests are not parsed
    /// for binding data.
    pub(crate) needs_binding_data: bool,
    /// Counts its executions.
    pub(crate) meter: Arc<FunctionMeter>,
    /// Limits its invocations at a time.
    pub(crate) concurrency: Option<Arc<Semaphore>>,
}

/// The data of a trigger for one invocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct TriggerData {
    /// The value of the trigger binding.
    pub(crate) data: TypedData,
    /// The trigger metadata for the worker.
    pub(crate) metadata: BTreeMap<String, TypedData>,
    /// The binding data, from which expressions are resolved.
    pub(crate) binding_data: Map<String, Json>,
    /// For the `Executing` line.
    pub(crate) reason: String,
    /// The origin at which an HTTP client reached the host.
    pub(crate) origin: Option<Uri>,
    /// The parent span.
    pub(crate) parent: Option<TraceContext>,
    /// `tracestate` of the parent (W3C Trace Context).
    pub(crate) trace_state: String,
    /// The baggage of the caller (W3C Baggage).
    pub(crate) baggage: BTreeMap<String, String>,
    /// Further spans, as links.
    pub(crate) links: Vec<TraceContext>,
    /// For a log line after the `Executing` line.
    pub(crate) details: Option<String>,
    /// Cancellation, and the receiver of the worker's address. Its timeout is replaced by that of the host.
    pub(crate) options: InvokeOptions,
    /// Present if the function has a retry policy.
    pub(crate) retry: Option<RetryContext>,
}

/// The result of a function, without the values of its sinks.
#[derive(Debug, Default)]
pub(crate) struct Returned {
    /// The value of the `http` output, or else the return value.
    pub(crate) http: TypedData,
    /// The return value, if the events of the function are pushed.
    pub(crate) value: TypedData,
}

/// Invokes functions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Invoker {
    pub(crate) workers: Arc<dyn Workers>,
    /// Those of the same generation.
    pub(crate) active: ActiveInvocations,
    pub(crate) logs: Logs,
    pub(crate) tracer: Tracer,
    pub(crate) metrics: Metrics,
    /// Longest run of a function (`functionTimeout`).
    pub(crate) function_timeout: Option<Duration>,
}

impl Function {
    pub(crate) fn new(
        declaration: Declaration,
        inputs: Vec<(Binding, Arc<dyn Reader>)>,
        outputs: Vec<(Binding, Arc<dyn Sink>)>,
        push: Option<PushBinding>,
        meter: Arc<FunctionMeter>,
        concurrency: Option<Arc<Semaphore>>,
    ) -> Self {
        let needs_binding_data = inputs.iter().any(|(binding, _)| binding.properties.needs_data())
            || outputs.iter().any(|(binding, _)| binding.properties.needs_data());
        Self { declaration, inputs, outputs, push, needs_binding_data, meter, concurrency }
    }

    /// Whether it has bindings besides its trigger and its HTTP response.
    pub(crate) fn has_bindings(&self) -> bool {
        !self.inputs.is_empty() || !self.outputs.is_empty()
    }

    pub(crate) fn name(&self) -> &str {
        &self.declaration.metadata.name
    }

    pub(crate) fn id(&self) -> &FunctionId {
        &self.declaration.metadata.function_id
    }
}

impl Invoker {
    /// Runs one invocation to its end. Must not be dropped before: callers that may be dropped spawn it.
    pub(crate) async fn invoke(
        &self,
        function: &Function,
        trigger_data: TriggerData,
    ) -> Result<Returned, InvocationError> {
        self.attempt(function, trigger_data, &uuid::Uuid::new_v4().to_string()).await
    }

    /// One attempt of an invocation with this id.
    pub(crate) async fn attempt(
        &self,
        function: &Function,
        trigger_data: TriggerData,
        id: &str,
    ) -> Result<Returned, InvocationError> {
        let name = function.name();
        let _running = self.active.begin(id, name);
        let _permit = match &function.concurrency {
            // It is never closed.
            Some(limit) => limit.acquire().await.ok(),
            None => None,
        };
        let mut span = self.tracer.start("function", trigger_data.parent);
        span.set("function", name);
        span.set("invocation", id);
        for link in &trigger_data.links {
            span.link(*link);
        }
        // At the level of errors, so that every line that is logged at all carries the fields.
        let context = span.context();
        let fields = tracing::error_span!(
            "invocation",
            function = name,
            invocation_id = id,
            trace_id = %context.trace_id,
            span_id = %context.span_id,
        );
        self.attempt_in(&mut span, function, trigger_data, id).instrument(fields).await
    }

    async fn attempt_in(
        &self,
        span: &mut Span,
        function: &Function,
        mut trigger_data: TriggerData,
        id: &str,
    ) -> Result<Returned, InvocationError> {
        let name = function.name();
        let started = Instant::now();
        let reason = &trigger_data.reason;
        self.logs.function(
            Level::Info,
            name,
            Some(id),
            format!("Executing 'Functions.{name}' (Reason='{reason}', Id={id})"),
        );
        if let Some(details) = &trigger_data.details {
            self.logs.function(Level::Info, name, Some(id), format!("Trigger Details: {details}"));
        }
        let measure = Arc::new(InvocationMeasure::default());
        trigger_data.options.measure = Some(Arc::clone(&measure));
        let result = self.run(function, trigger_data, id, span.context()).await;
        let took = started.elapsed();
        // An invocation that no worker got is not an execution.
        if measure.concurrent() > 0 {
            function.meter.record(&MeasuredExecution {
                is_success: result.is_ok(),
                duration: took.saturating_sub(measure.waited()),
                worker_memory_bytes: measure.worker_memory_bytes(),
                concurrent: measure.concurrent(),
            });
        }
        let (word, outcome) = match &result {
            Ok(_) => ("Succeeded", InvocationOutcome::Succeeded),
            Err(_) => ("Failed", InvocationOutcome::Failed),
        };
        let level = if result.is_ok() { Level::Info } else { Level::Error };
        self.logs.function(
            level,
            name,
            Some(id),
            format!("Executed 'Functions.{name}' ({word}, Id={id}, Duration={}ms)", took.as_millis()),
        );
        if let Err(error) = &result {
            let chain = error.with_causes();
            span.fail(chain.lines().next().unwrap_or_default());
            self.logs.function_error(
                error.description(),
                name,
                Some(id),
                format!("Exception while executing function: Functions.{name}. {chain}"),
            );
        }
        let label = FunctionLabel { function: name.to_owned() };
        self.metrics.invocation_seconds.get_or_create(&label).observe(took.as_secs_f64());
        let labels = InvocationLabels { function: name.to_owned(), result: outcome };
        self.metrics.invocations.get_or_create(&labels).inc();
        result
    }

    async fn run(
        &self,
        function: &Function,
        trigger_data: TriggerData,
        id: &str,
        trace: TraceContext,
    ) -> Result<Returned, InvocationError> {
        let scope = Scope {
            id,
            data: &trigger_data.binding_data,
            origin: trigger_data.origin.as_ref(),
            trace,
            system: SystemValues {
                function: function.name(),
                now: SystemTime::now(),
                guid: uuid::Uuid::new_v4,
            },
        };
        let mut input_data = Vec::with_capacity(1 + function.inputs.len());
        let trigger_name = function.declaration.trigger_spec.spec.name.clone();
        input_data.push(ParameterBinding { name: trigger_name, data: trigger_data.data });
        for (binding, reader) in &function.inputs {
            input_data.push(scope.read(binding, reader.as_ref()).await?);
        }
        let request = InvocationRequest {
            invocation_id: InvocationId::new(id),
            function_id: function.id().clone(),
            input_data,
            trigger_metadata: trigger_data.metadata,
            trace_context: worker_protocol::RpcTraceContext {
                trace_parent: trace.to_traceparent(),
                trace_state: trigger_data.trace_state,
                baggage: trigger_data.baggage,
                ..worker_protocol::RpcTraceContext::default()
            },
            retry_context: trigger_data.retry,
        };
        let answer = self
            .workers
            .invoke(request, InvokeOptions { timeout: self.function_timeout, ..trigger_data.options })
            .await;
        let response = answer.map_err(|cause| InvocationError::Worker { cause })?;
        if !response.result.is_success() {
            return Err(InvocationError::Function { result: Box::new(response.result) });
        }
        scope.write(function, response).await
    }
}

/// What the bindings of one invocation have in common.
struct Scope<'a> {
    id: &'a str,
    data: &'a Map<String, Json>,
    origin: Option<&'a Uri>,
    trace: TraceContext,
    system: SystemValues<'a>,
}

impl Scope<'_> {
    async fn read(
        &self,
        binding: &Binding,
        reader: &dyn Reader,
    ) -> Result<ParameterBinding, InvocationError> {
        let properties = self.resolve(binding)?;
        let value = reader.read(&self.call(&properties)).await;
        let name = binding.spec.name.clone();
        match value {
            Ok(value) => Ok(ParameterBinding { name, data: typed_data(value, binding.data_type) }),
            Err(cause) => Err(InvocationError::Input { binding: name, cause }),
        }
    }

    /// Writes the value of each output; the invocation has succeeded when all are accepted.
    async fn write(
        &self,
        function: &Function,
        response: InvocationResponse,
    ) -> Result<Returned, InvocationError> {
        let mut values: BTreeMap<String, TypedData> = BTreeMap::new();
        for output in response.output_data {
            values.insert(output.name, output.data);
        }
        if let Some(value) = response.return_value {
            values.insert("$return".to_owned(), value);
        }
        // The sender gets the return value even if an output takes it too, as in the Azure Functions host.
        let value = function.push.as_ref().and_then(|_| values.get("$return").cloned()).unwrap_or_default();
        for (binding, sink) in &function.outputs {
            let name = &binding.spec.name;
            let items = values.remove(name).map(items).unwrap_or_default();
            if items.is_empty() {
                continue;
            }
            let properties = self.resolve(binding)?;
            let written = sink.write(&self.call(&properties), items).await;
            written.map_err(|cause| InvocationError::Output { binding: name.clone(), cause })?;
        }
        let Some(http_output) = &function.declaration.http_output else {
            return Ok(Returned { value, ..Returned::default() });
        };
        // Both forms occur: Node.js and Python v2 return the response, older models set the output by its name.
        let http = [values.remove("$return"), values.remove(http_output)];
        let http = http.into_iter().flatten().find(|value| !value.is_null());
        Ok(Returned { http: http.unwrap_or_default(), value })
    }

    fn resolve<'p>(&self, binding: &'p Binding) -> Result<Cow<'p, Map<String, Json>>, InvocationError> {
        let resolved = binding.properties.resolve(self.data, &self.system);
        resolved.map_err(|cause| InvocationError::Expression { binding: binding.spec.name.clone(), cause })
    }

    fn call<'c>(&'c self, properties: &'c Map<String, Json>) -> BindingContext<'c> {
        BindingContext {
            invocation_id: self.id,
            properties,
            binding_data: self.data,
            origin: self.origin,
            trace: self.trace,
        }
    }
}
