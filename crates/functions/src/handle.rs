//! [`Handle`]: the interface of the host for callers in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use functions_contract::{PushRequest, PushResponse};
use http_messages::error_chain;
use serde_json::Value as Json;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::cors_options::cors_policy;
use crate::error::{Error, InvokeFunctionError};
use crate::function_info::{FunctionInfo, in_error, startup_listing};
use crate::http::Dispatch;
use crate::invoke::Invoker;
use crate::keys::AppKeys;
use crate::log::{Level, Logs};
use crate::options::Options;
use crate::running_app::{AppPhase, RunningApp};
use crate::setting_use::SettingUse;

/// A running functions host; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    app: App,
    invoker: Invoker,
    keys: AppKeys,
    dispatch: Arc<Dispatch>,
    phase: watch::Receiver<AppPhase>,
    shutdown: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
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
    pub(crate) fn new(
        app: App,
        invoker: Invoker,
        keys: AppKeys,
        dispatch: Arc<Dispatch>,
        phase: watch::Receiver<AppPhase>,
        shutdown: watch::Sender<bool>,
        task: JoinHandle<()>,
    ) -> Self {
        let task = Mutex::new(Some(task));
        Self { shared: Arc::new(Shared { app, invoker, keys, dispatch, phase, shutdown, task }) }
    }

    /// The master key, created now if there is none yet: it permits calls of every function and of `/admin`, which shows all other
    /// keys. For the owner of the machine, who could not get the first key otherwise.
    ///
    /// # Errors
    ///
    /// If the keys cannot be read.
    pub async fn master_key(&self) -> Result<String, Error> {
        let host = self.shared.keys.host().await;
        host.map(|host| host.master_key).map_err(|error| Error::Keys(error_chain(&error)))
    }

    /// Whether keys are stored that are not valid here, because they were created in development mode (or by a version without
    /// modes).
    ///
    /// # Errors
    ///
    /// If the keys cannot be read.
    pub async fn has_void_keys(&self) -> Result<bool, Error> {
        self.shared.keys.has_void_keys().await.map_err(|error| Error::Keys(error_chain(&error)))
    }

    /// Lets pages of other origins call the app from now on, as the CORS options say; the rest of the options counts at a start only.
    ///
    /// # Errors
    ///
    /// If one of the exposed headers is no name of a header; the policy of before stays.
    pub fn set_cors(&self, options: &Options) -> Result<(), Error> {
        self.shared.dispatch.cors.set(cors_policy(options, &self.shared.app)?);
        Ok(())
    }

    /// The app as its files and settings describe it.
    pub fn app(&self) -> &App {
        &self.shared.app
    }

    /// Waits until the functions can be called, or until the first start has failed. After a failure the host continues to try;
    /// the caller decides whether to wait ([`Handle::started`]) or to end.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut phase = self.shared.phase.clone();
        match phase.wait_for(|phase| !matches!(phase, AppPhase::Starting)).await.as_deref() {
            Ok(AppPhase::Running(_)) => Ok(()),
            Ok(AppPhase::Failed(why)) => Err(Error::NotStarted(why.to_string())),
            Ok(AppPhase::Starting) | Err(_) => Err(Error::NotStarted("the host is being stopped".to_owned())),
        }
    }

    /// Waits until the functions can be called, even if the app fails before. `false` if the host is stopped first.
    pub async fn started(&self) -> bool {
        let mut phase = self.shared.phase.clone();
        phase.wait_for(|phase| matches!(phase, AppPhase::Running(_))).await.is_ok()
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
                Some((name, why)) => InvokeFunctionError::Unavailable(in_error(name, why)),
                None => InvokeFunctionError::Unknown { name: name.to_owned() },
            });
        };
        if let Some(why) = running.only_by_http(&function) {
            return Err(InvokeFunctionError::Unavailable(why));
        }
        let invoker = running.invoker.clone();
        let drain_guard = invoker.active.delay_drain();
        let trigger_data = running.manual_trigger_data(&function, input).await;
        let mut shutdown = running.shutdown.clone();
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
        self.shared.dispatch.awaits_push(extension, address)
    }

    /// Answers a request to the webhook of an extension for a service of this process: without a socket and without a key. Waits while
    /// the app is starting. Dropping the future cancels the invocation.
    ///
    /// # Errors
    ///
    /// If the app does not run, or there is no such extension.
    pub async fn push(
        &self,
        extension: &str,
        request: PushRequest,
    ) -> Result<PushResponse, InvokeFunctionError> {
        let response = self.shared.dispatch.push_in_process(extension, request).await;
        response.map_err(|why| InvokeFunctionError::Unavailable(why.trim_end().to_owned()))
    }

    /// The process ids of the living workers.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.invoker.workers.pids()
    }

    /// Kills a worker; it is replaced. `false` if no worker has this process id.
    pub fn kill_worker(&self, pid: u32) -> bool {
        self.shared.invoker.workers.kill(pid)
    }

    /// Kills all workers; they are replaced. Returns their process ids.
    pub fn kill_workers(&self) -> Vec<u32> {
        self.worker_pids().into_iter().filter(|pid| self.kill_worker(*pid)).collect()
    }

    /// The app's log.
    pub fn logs(&self) -> &Logs {
        &self.shared.invoker.logs
    }

    /// Stops the triggers, waits for active invocations, closes the sources and stops the workers, all within `limit`. What has not
    /// ended by then is aborted; its batches come again.
    pub async fn drain(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        self.shared.shutdown.send_replace(true);
        if let Some(mut task) = self.shared.task.lock().await.take()
            && tokio::time::timeout(left(), &mut task).await.is_err()
        {
            let text = "Triggers did not end in time and are aborted; their batches come again.";
            self.logs().host(Level::Warn, text);
            task.abort();
            // Either result means that the task has ended.
            let _ = task.await;
        }
        if tokio::time::timeout(left(), self.shared.invoker.active.idle()).await.is_err() {
            self.logs().host(Level::Warn, "Invocations did not end in time and are aborted.");
        }
        self.shared.invoker.workers.drain(left()).await;
    }

    fn running(&self) -> Option<Arc<RunningApp>> {
        match &*self.shared.phase.borrow() {
            AppPhase::Running(running) => Some(Arc::clone(running)),
            AppPhase::Starting | AppPhase::Failed(_) => None,
        }
    }
}
