//! [`Generation`]: one version of the app whose functions can be called.
//!
//! A generation owns its workers, and counts its invocations. Its triggers are in [`crate::triggers::TriggerTasks`]. A new generation
//! starts beside the one in service, takes over, and the old one drains: `host.rs`.

use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value as Json;
use tokio::sync::watch;
use worker_protocol::{Capabilities, FunctionMetadata, TypedData};

use crate::app::App;
use crate::function::Trigger;
use crate::function_error::FunctionError;
use crate::http::HttpSettings;
use crate::invoke::{DrainGuard, Function, Invoker, TriggerData};
use crate::push::PushTable;
use crate::reload_error::ReloadError;
use crate::route::RouteTable;
use crate::setting_use::SettingUse;
use crate::shutdown::Shutdown;
use crate::timer::{self, ScheduleMonitor};

/// Whether a generation of the app is in service.
#[derive(Clone)]
pub(crate) enum AppPhase {
    /// The app is starting.
    Starting,
    /// The functions of this generation can be called.
    Running {
        generation: Arc<Generation>,
        /// Why the newer files of the app are not in service.
        reload_error: Option<Arc<ReloadError>>,
    },
    /// The app did not start, with the reason.
    Failed(Arc<str>),
}

/// One version of the app whose functions can be called.
pub(crate) struct Generation {
    /// 1 for the first start of the app; each further start has the next number, whether it succeeds or not.
    pub(crate) number: u64,
    pub(crate) app: App,
    /// Valid functions, disabled ones included, by name.
    pub(crate) functions: Vec<Arc<Function>>,
    /// Functions in error, with the reason.
    pub(crate) errors: Vec<(String, FunctionError)>,
    /// What the worker said of the functions in error, as far as it named them.
    pub(crate) metadata_in_error: Vec<FunctionMetadata>,
    /// The settings that the bindings of all functions name.
    pub(crate) settings_used: Vec<SettingUse>,
    pub(crate) routes: RouteTable<Arc<Function>>,
    /// The functions whose events are pushed.
    pub(crate) pushes: PushTable,
    /// Invokes functions in the workers of this generation.
    pub(crate) invoker: Invoker,
    /// Stores the runs of its timers.
    pub(crate) schedule_monitor: ScheduleMonitor,
    pub(crate) http: Arc<HttpSettings>,
    /// How workers receive HTTP requests themselves, if they do.
    pub(crate) proxying: Option<HttpProxying>,
    /// Ends the pauses between retries.
    pub(crate) retry_stop: watch::Sender<bool>,
}

/// A generation in use; it is not drained before this is dropped.
pub(crate) struct GenerationGuard {
    generation: Arc<Generation>,
    _drain_guard: DrainGuard,
}

impl GenerationGuard {
    /// Returns the generation in service. Fails if there is none.
    ///
    /// Called under the lock of the phase, so that a generation that is replaced later is drained later.
    pub(crate) fn of(phase: &AppPhase) -> Option<Self> {
        let AppPhase::Running { generation, .. } = phase else { return None };
        let drain_guard = generation.invoker.active.delay_drain();
        Some(Self { generation: Arc::clone(generation), _drain_guard: drain_guard })
    }
}

impl Clone for GenerationGuard {
    fn clone(&self) -> Self {
        let drain_guard = self.generation.invoker.active.delay_drain();
        Self { generation: Arc::clone(&self.generation), _drain_guard: drain_guard }
    }
}

impl Deref for GenerationGuard {
    type Target = Generation;

    fn deref(&self) -> &Generation {
        &self.generation
    }
}

/// How workers receive HTTP requests themselves (capability `HttpUri`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpProxying {
    /// Whether the invocation must contain the route values.
    pub(crate) needs_route_values: bool,
}

impl HttpProxying {
    pub(crate) fn of(capabilities: &Capabilities) -> Option<Self> {
        let needs_route_values = capabilities.has(Capabilities::REQUIRES_ROUTE_PARAMETERS);
        capabilities.has(Capabilities::HTTP_URI).then_some(Self { needs_route_values })
    }
}

impl Generation {
    /// Ends the pauses between retries when the host stops, or when the time for the drain of this generation is over.
    pub(crate) fn retry_stop(&self) -> Shutdown {
        Shutdown::of(&self.retry_stop)
    }

    /// A function by its name in any case.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Function>> {
        self.functions.iter().find(|function| function.name().eq_ignore_ascii_case(name)).cloned()
    }

    /// Why a function cannot be started by its name; `None` if it can.
    pub(crate) fn only_by_http(&self, function: &Function) -> Option<String> {
        let is_proxied = self.proxying.is_some() && matches!(function.declaration.trigger, Trigger::Http(_));
        is_proxied.then(|| {
            format!(
                "Functions.{} can only be called by HTTP: its worker receives the request itself (HttpUri), and would wait without end for \
                 the request of an invocation that has none. Send a request to its route.",
                function.name()
            )
        })
    }

    /// Starts a function by its name with this input. Only drain waits for its end.
    pub(crate) async fn start_manually(&self, function: &Arc<Function>, input: &Json) {
        let (invoker, function) = (self.invoker.clone(), Arc::clone(function));
        let trigger_data = self.manual_trigger_data(&function, input).await;
        let drain_guard = invoker.active.delay_drain();
        let mut shutdown = self.retry_stop();
        tokio::spawn(async move {
            // The outcome is in the log.
            let _ = invoker.invoke_with_retry(&function, trigger_data, &mut shutdown).await;
            drop(drain_guard);
        });
    }

    /// The trigger data of a function that is started by its name.
    pub(crate) async fn manual_trigger_data(&self, function: &Function, input: &Json) -> TriggerData {
        const REASON: &str = "This function was programmatically called via the host APIs.";
        if let Trigger::Timer(trigger) = &function.declaration.trigger {
            let mut trigger_data =
                timer::manual_trigger_data(function.name(), trigger, &self.schedule_monitor).await;
            let trigger_name = function.declaration.trigger_spec.spec.name.clone();
            let text = match input {
                Json::Null => None,
                Json::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            trigger_data.metadata.extend(text.map(|text| (trigger_name, TypedData::String(text.into()))));
            return TriggerData { reason: REASON.to_owned(), ..trigger_data };
        }
        let data = match input {
            Json::Null => TypedData::Null,
            Json::String(text) => TypedData::String(text.as_str().into()),
            other => TypedData::Json(other.to_string().into()),
        };
        let text = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
        let binding_data = serde_json::from_str(&text).unwrap_or_default();
        TriggerData { data, binding_data, reason: REASON.to_owned(), ..TriggerData::default() }
    }
}
