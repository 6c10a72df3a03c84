//! `/admin`: status of the host, functions, keys. Requires the master key if keys are enforced.

mod edit;
mod functions;
mod keys;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_messages::{Body, empty};
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::dispatch::Dispatch;
use super::request;
use super::respond::{error, error_text, json_response, text};
use crate::error_table::response;
use crate::function_info::in_error;
use crate::generation::AppPhase;
use crate::host_triggers::WARMUP;
use crate::host_version::HOST_VERSION;

/// The admin operation that a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AdminTarget {
    Ping,
    Status,
    Config,
    Processes,
    DrainStatus,
    Restart,
    /// Runs the function with a `warmupTrigger`, if there is one.
    Warmup,
    /// Health checks of a platform.
    Health,
    InstanceInfo,
    Functions,
    Function(String),
    FunctionStatus(String),
    MasterKey,
    /// The keys of the host or of a function: all, or one by its name.
    Keys(KeyOwner, Option<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyOwner {
    HostFunctions,
    System,
    Function(String),
}

impl AdminTarget {
    /// Parses a path; `None` for a path without an admin operation, which may belong to a function.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let words: Vec<String> = segments.iter().map(|segment| segment.to_ascii_lowercase()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // Names keep the case of the request.
        let name = |at: usize| segments.get(at).map(|name| (*name).to_owned());
        let function = || name(2).unwrap_or_default();
        Some(match words.as_slice() {
            ["admin", "host", "ping"] => Self::Ping,
            ["admin", "host", "status"] => Self::Status,
            ["admin", "host", "config"] => Self::Config,
            ["admin", "host", "processes"] => Self::Processes,
            ["admin", "host", "drain", "status"] => Self::DrainStatus,
            ["admin", "host", "restart"] => Self::Restart,
            ["admin", "warmup"] => Self::Warmup,
            ["admin", "instance", "http-health"] => Self::Health,
            ["admin", "instance", "info"] => Self::InstanceInfo,
            ["admin", "host", "systemkeys", "_master"] => Self::MasterKey,
            // The master key is not one of the host's function keys.
            ["admin", "host", "keys" | "functionkeys", "_master"] => return None,
            ["admin", "host", "keys" | "functionkeys"] | ["admin", "host", "keys" | "functionkeys", _] => {
                Self::Keys(KeyOwner::HostFunctions, name(3))
            }
            ["admin", "host", "systemkeys"] | ["admin", "host", "systemkeys", _] => {
                Self::Keys(KeyOwner::System, name(3))
            }
            ["admin", "functions"] => Self::Functions,
            ["admin", "functions", _] => Self::Function(function()),
            ["admin", "functions", _, "status"] => Self::FunctionStatus(function()),
            ["admin", "functions", _, "keys"] | ["admin", "functions", _, "keys", _] => {
                Self::Keys(KeyOwner::Function(function()), name(4))
            }
            _ => return None,
        })
    }
}

impl Dispatch {
    /// `path` is the path from which the target was parsed.
    pub(super) async fn admin(
        &self,
        target: AdminTarget,
        parts: &Parts,
        path: &str,
        body: Body,
    ) -> Response<Body> {
        let method = &parts.method;
        if target == AdminTarget::Ping && (method == Method::GET || method == Method::POST) {
            return ping();
        }
        if let Some(rejection) = self.reject_unless_admin(parts).await {
            return rejection;
        }
        let href = format!("{}{}", base(parts), super::path::write(path.trim_matches('/')));
        match target {
            AdminTarget::Status if method == Method::GET => json_response(StatusCode::OK, &self.status()),
            AdminTarget::Config if method == Method::GET => self.config(),
            AdminTarget::Processes if method == Method::GET => self.processes().await,
            AdminTarget::DrainStatus if method == Method::GET => self.drain_status().await,
            AdminTarget::Restart if method == Method::POST => self.restart().await,
            AdminTarget::Warmup if method == Method::GET => self.warm_up().await,
            AdminTarget::Health if method == Method::GET => empty(StatusCode::OK),
            AdminTarget::InstanceInfo if method == Method::GET => {
                json_response(StatusCode::OK, &json!({ "FUNCTIONS_EXTENSION_VERSION": HOST_VERSION }))
            }
            AdminTarget::Functions | AdminTarget::Function(_) | AdminTarget::FunctionStatus(_) => {
                self.functions(&target, parts, body).await
            }
            AdminTarget::MasterKey => self.master_key(parts, &href, body).await,
            AdminTarget::Keys(KeyOwner::Function(function), name) => {
                self.keys_of_function(parts, &href, &function, name, body).await
            }
            AdminTarget::Keys(KeyOwner::HostFunctions, name) => {
                self.host_keys(parts, &href, name, body).await
            }
            AdminTarget::Keys(KeyOwner::System, name) => self.system_keys(parts, &href, name, body).await,
            _ => error(&response::NOT_FOUND),
        }
    }

    /// The effective settings of `host.json` that are supported here.
    fn config(&self) -> Response<Body> {
        let settings = self.settings.get();
        let http = &settings.section;
        let limit = |limit: Option<usize>| limit.map_or_else(|| json!(-1), |limit| json!(limit));
        let config = json!({
            "extensions": {
                "http": {
                    "maxConcurrentRequests": limit(http.concurrent_requests_max),
                    "maxOutstandingRequests": limit(http.outstanding_requests_max),
                    "routePrefix": http.route_prefix,
                },
            },
        });
        let pretty = serde_json::to_string_pretty(&config).unwrap_or_default();
        text(StatusCode::OK, &pretty)
    }

    /// This process and the workers of the app.
    async fn processes(&self) -> Response<Body> {
        let running = match self.running().await {
            Ok(running) => running,
            Err(why) => return error_text(&response::NOT_RUNNING, &why),
        };
        let process = |id: u32, name: &str| json!({ "processId": id, "processName": name, "debugEngine": name, "isEligibleForOpenInBrowser": false });
        let workers = running.invoker.workers.pids();
        let workers = workers.into_iter().map(|pid| process(pid, &running.app.language));
        let all: Vec<Json> = std::iter::once(process(std::process::id(), "chappe")).chain(workers).collect();
        json_response(StatusCode::OK, &json!({ "processes": all }))
    }

    /// Starts the app again beside the one in service, which is replaced and drains: no call is lost. Responds when it has started.
    async fn restart(&self) -> Response<Body> {
        let (request, outcome) = oneshot::channel();
        // An error on either way means that the host is being stopped.
        let outcome = match self.reload.send(request).await {
            Ok(()) => outcome.await.ok(),
            Err(_) => None,
        };
        match outcome {
            Some(Ok(())) => empty(StatusCode::OK),
            Some(Err(error)) => {
                let why = format!("The function app did not start: {}\n", error.why);
                error_text(&response::NOT_RUNNING, &why)
            }
            None => error_text(&response::NOT_RUNNING, "The functions host is being stopped.\n"),
        }
    }

    /// The drain status. A draining host accepts no requests, so the state is always `Disabled`.
    async fn drain_status(&self) -> Response<Body> {
        let running = match self.running().await {
            Ok(running) => running,
            Err(why) => return error_text(&response::NOT_RUNNING, &why),
        };
        let outstanding = running.invoker.active.count();
        let status =
            json!({ "state": "Disabled", "outstandingInvocations": outstanding, "outstandingRetries": 0 });
        json_response(StatusCode::OK, &status)
    }

    async fn warm_up(&self) -> Response<Body> {
        match self.push_in_process(WARMUP, http::Request::new(bytes::Bytes::new())).await {
            Ok(response) => empty(response.status()),
            Err(why) => error_text(&response::NOT_RUNNING, &why),
        }
    }

    fn status(&self) -> Json {
        let (state, errors) = match &*self.phase.borrow() {
            AppPhase::Starting => ("Starting", Vec::new()),
            AppPhase::Running { generation, reload_error } => {
                let not_reloaded = reload_error.iter().map(|error| error.text());
                let in_error = generation.errors.iter().map(|(name, why)| in_error(name, &why.text));
                ("Running", not_reloaded.chain(in_error).collect())
            }
            AppPhase::Failed(why) => ("Error", vec![why.to_string()]),
        };
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut status = json!({
            "id": self.settings.get().host_id,
            "state": state,
            "version": HOST_VERSION,
            "versionDetails": concat!("chappe ", env!("CARGO_PKG_VERSION")),
            "platformVersion": "",
            "instanceId": "",
            "computerName": "",
            "processUptime": uptime_ms,
            "functionAppContentEditingState": "Unknown",
        });
        if !errors.is_empty() {
            status["errors"] = json!(errors);
        }
        status
    }
}

/// The response to a ping; caches must not store it.
fn ping() -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store,no-cache"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Scheme, host and the first slash of the address that the client used.
fn base(parts: &Parts) -> String {
    let url = request::absolute_url(parts);
    request::origin(&url).map(|origin| origin.to_string()).unwrap_or_default()
}
