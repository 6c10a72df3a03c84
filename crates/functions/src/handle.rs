//! [`Handle`]: the interface of the host for callers in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use functions_contract::{PushRequest, PushResponse};
use http_messages::error_chain;
use serde_json::Value as Json;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::cors_options::cors_policy;
use crate::current::Current;
use crate::error::{Error, InvokeFunctionError};
use crate::function_info::{FunctionInfo, in_error, startup_listing};
use crate::generation::{AppPhase, GenerationGuard};
use crate::generations::Generations;
use crate::http::{Dispatch, HttpSettings};
use crate::keys::AppKeys;
use crate::log::{Level, Logs};
use crate::options::Options;
use crate::reload_error::ReloadRequest;
use crate::setting_use::SettingUse;
use crate::usage::{Usage, UsageQuery};
use crate::workers::pool_options;

/// A running functions host; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    parts: HandleParts,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The parts of the host that a handle uses.
pub(crate) struct HandleParts {
    pub(crate) options: Current<Options>,
    /// The app as it was last read.
    pub(crate) app: Current<App>,
    pub(crate) logs: Logs,
    pub(crate) generations: Generations,
    pub(crate) usage: Usage,
    pub(crate) keys: AppKeys,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) phase: watch::Receiver<AppPhase>,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) reload: mpsc::Sender<ReloadRequest>,
}

/// Ends the host; see [`Join::drain`].
pub struct Join(pub(crate) Handle);

impl Join {
    /// As [`Handle::drain`].
    pub async fn drain(self, limit: Duration) {
        self.0.drain(limit).await;
    }
}

impl Handle {
    pub(crate) fn new(parts: HandleParts, task: JoinHandle<()>) -> Self {
        Self { shared: Arc::new(Shared { parts, task: Mutex::new(Some(task)) }) }
    }

    /// The master key, created now if there is none yet: it permits calls of every function and of `/admin`, which shows all other
    /// keys. For the owner of the machine, who could not get the first key otherwise.
    ///
    /// # Errors
    ///
    /// If the keys cannot be read.
    pub async fn master_key(&self) -> Result<String, Error> {
        let host = self.shared.parts.keys.host().await;
        host.map(|host| host.master_key).map_err(|error| Error::Keys(error_chain(&error)))
    }

    /// Whether keys are stored that are not valid here, because they were created in development mode (or by a version without
    /// modes).
    ///
    /// # Errors
    ///
    /// If the keys cannot be read.
    pub async fn has_void_keys(&self) -> Result<bool, Error> {
        self.shared.parts.keys.has_void_keys().await.map_err(|error| Error::Keys(error_chain(&error)))
    }

    /// Checks changed options; running what is returned applies those that may change while the host runs. The CORS options apply to the
    /// requests from then on; the others by a new generation of the app, as [`Handle::reload`]. If that does not start, the present one
    /// stays in service, the log has the reason, and the next generation has the new options.
    ///
    /// # Errors
    ///
    /// If one of the values is invalid.
    pub fn prepare(
        &self,
        options: &Options,
    ) -> Result<impl Future<Output = ()> + Send + 'static + use<>, Error> {
        let (handle, parts) = (self.clone(), &self.shared.parts);
        let (known, app) = (parts.options.get(), parts.app.get());
        let changed = known.reloaded(options);
        let policy = Arc::new(cors_policy(&changed, &app)?);
        HttpSettings::of(&changed, &app)?;
        pool_options(&changed, &app)?;
        Ok(async move {
            let parts = &handle.shared.parts;
            parts.dispatch.cors.set(policy);
            let needs_generation = known.needs_generation(&changed);
            parts.options.set(Arc::new(changed));
            if needs_generation {
                // The host has logged the error.
                let _: Result<(), Error> = handle.reload().await;
            }
        })
    }

    /// Reads the files and settings of the app again, and puts them into service: a new generation of the app starts beside the present
    /// one and takes over, and the present one ends when its invocations have ended.
    ///
    /// # Errors
    ///
    /// If the app cannot be started, with the reason. The present generation stays in service.
    pub async fn reload(&self) -> Result<(), Error> {
        let stopped = || Error::NotStarted("the host is being stopped".to_owned());
        let (request, outcome) = oneshot::channel();
        self.shared.parts.reload.send(request).await.map_err(|_| stopped())?;
        let outcome = outcome.await.map_err(|_| stopped())?;
        outcome.map_err(|error| Error::NotStarted(error.why.clone()))
    }

    /// The app as its files and settings described it when they were last read.
    pub fn app(&self) -> Arc<App> {
        self.shared.parts.app.get()
    }

    /// Waits until the functions can be called, or until the first start has failed. After a failure the host continues to try;
    /// the caller decides whether to wait ([`Handle::started`]) or to end.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut phase = self.shared.parts.phase.clone();
        match phase.wait_for(|phase| !matches!(phase, AppPhase::Starting)).await.as_deref() {
            Ok(AppPhase::Running { .. }) => Ok(()),
            Ok(AppPhase::Failed(why)) => Err(Error::NotStarted(why.to_string())),
            Ok(AppPhase::Starting) | Err(_) => Err(Error::NotStarted("the host is being stopped".to_owned())),
        }
    }

    /// Waits until the functions can be called, even if the app fails before. `false` if the host is stopped first.
    pub async fn started(&self) -> bool {
        let mut phase = self.shared.parts.phase.clone();
        phase.wait_for(|phase| matches!(phase, AppPhase::Running { .. })).await.is_ok()
    }

    /// Whether the functions can be called now.
    pub fn is_ready(&self) -> bool {
        self.running().is_some()
    }

    /// All functions by name, including those in error; empty until the app has started.
    pub fn functions(&self) -> Vec<FunctionInfo> {
        self.running().map(|running| running.infos()).unwrap_or_default()
    }

    /// The settings that the bindings of the app's functions name, set or missing; empty until the app has started.
    pub fn settings_used(&self) -> Vec<SettingUse> {
        self.running().map(|running| running.settings_used.clone()).unwrap_or_default()
    }

    /// The list that users expect to see when the app has started. `base` is the address that clients use, such as
    /// `http://localhost:7071`.
    pub fn startup_listing(&self, base: &str) -> String {
        startup_listing(&self.functions(), base)
    }

    /// Runs a function by its name with this input, and waits for its end.
    pub async fn invoke(&self, name: &str, input: &Json) -> Result<(), InvokeFunctionError> {
        let Some(running) = self.running() else {
            return Err(InvokeFunctionError::Unavailable("the function app has not started".to_owned()));
        };
        let Some(function) = running.find(name) else {
            let failed = running.errors.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
            return Err(match failed {
                Some((name, why)) => InvokeFunctionError::Unavailable(in_error(name, &why.text)),
                None => InvokeFunctionError::Unknown { name: name.to_owned() },
            });
        };
        if let Some(why) = running.only_by_http(&function) {
            return Err(InvokeFunctionError::Unavailable(why));
        }
        let invoker = running.invoker.clone();
        let drain_guard = invoker.active.delay_drain();
        let trigger_data = running.manual_trigger_data(&function, input).await;
        let mut shutdown = running.retry_stop();
        let call = tokio::spawn(async move {
            let result = invoker.invoke_with_retry(&function, trigger_data, &mut shutdown).await;
            drop(drain_guard);
            result
        });
        match call.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(InvokeFunctionError::Failed(error.with_causes())),
            Err(error) => Err(InvokeFunctionError::Failed(error.to_string())),
        }
    }

    /// Whether a function waits for pushed events of an extension at this address, or at any if it is `None`. `None` while the app is
    /// starting, when it is not known yet.
    pub fn awaits_push(&self, extension: &str, address: Option<&str>) -> Option<bool> {
        self.shared.parts.dispatch.awaits_push(extension, address)
    }

    /// Responds to a request to the webhook of an extension for a service of this process: without a socket and without a key.
    /// Waits while the app is starting. Dropping the future cancels the invocation.
    ///
    /// # Errors
    ///
    /// If the app does not run, or there is no such extension.
    pub async fn push(
        &self,
        extension: &str,
        request: PushRequest,
    ) -> Result<PushResponse, InvokeFunctionError> {
        let response = self.shared.parts.dispatch.push_in_process(extension, request).await;
        response.map_err(|why| InvokeFunctionError::Unavailable(why.trim_end().to_owned()))
    }

    /// The process ids of the living workers.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.parts.generations.pids()
    }

    /// Kills a worker; it is replaced. `false` if no worker has this process id.
    pub fn kill_worker(&self, pid: u32) -> bool {
        self.shared.parts.generations.kill(pid)
    }

    /// Kills all workers; they are replaced. Returns their process ids.
    pub fn kill_workers(&self) -> Vec<u32> {
        self.worker_pids().into_iter().filter(|pid| self.kill_worker(*pid)).collect()
    }

    /// The app's log.
    pub fn logs(&self) -> &Logs {
        &self.shared.parts.logs
    }

    /// Stops the triggers, waits for active invocations, closes the sources and stops the workers, all within `limit`. What has not
    /// ended by then is aborted; its batches come again.
    pub async fn drain(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.shared.parts.shutdown.send_replace(true);
        if let Some(mut task) = self.shared.task.lock().await.take()
            && tokio::time::timeout(left(), &mut task).await.is_err()
        {
            let text = "Triggers did not end in time and are aborted; their batches come again.";
            self.logs().host(Level::Warn, text);
            task.abort();
            // Either result means that the task has ended.
            let _ = task.await;
        }
        if !self.shared.parts.generations.idle(left()).await {
            self.logs().host(Level::Warn, "Invocations did not end in time and are aborted.");
        }
        self.shared.parts.generations.drain_all(deadline).await;
        if let Err(error) = self.shared.parts.usage.write().await {
            tracing::warn!(error = error_chain(&error), "the last counts of the usage of functions are lost");
        }
    }

    /// The usage of functions, as JSON.
    pub(crate) async fn usage(&self, query: &UsageQuery) -> Result<Json, state::RegistryError> {
        self.shared.parts.usage.report(query).await.map(|report| report.to_json())
    }

    fn running(&self) -> Option<GenerationGuard> {
        GenerationGuard::of(&self.shared.parts.phase.borrow())
    }
}
