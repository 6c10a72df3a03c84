//! `/admin`: state of the host, functions, keys. Needs the master key where keys are enforced.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::{Value as Json, json};

use super::{Dispatch, empty, json as respond_json, request, text};
use crate::boot::{Phase, RunningApp};
use crate::function::Trigger;
use crate::invoke::Function;
use crate::keys::{KeyScope, NamedKey, ReadKeysError};
use crate::service::Body;

/// What an administrator asks for, read from the path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Ping,
    Status,
    Functions,
    Function(String),
    FunctionStatus(String),
    MasterKey,
    /// Keys of the host or of a function; all of them or one by its name.
    Keys(Keyed, Option<String>),
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Keyed {
    HostFunctions,
    System,
    Function(String),
}

impl Target {
    fn parse(path: &str) -> Self {
        let segments: Vec<&str> = path.trim_matches('/').split('/').skip(1).collect();
        let owned = |text: &&str| (*text).to_owned();
        match segments.as_slice() {
            ["host", "ping"] => Self::Ping,
            ["host", "status"] => Self::Status,
            ["host", "keys" | "systemkeys", "_master"] => Self::MasterKey,
            ["host", "keys" | "functionkeys", name @ ..] if name.len() < 2 => {
                Self::Keys(Keyed::HostFunctions, name.first().map(owned))
            }
            ["host", "systemkeys", name @ ..] if name.len() < 2 => {
                Self::Keys(Keyed::System, name.first().map(owned))
            }
            ["functions"] => Self::Functions,
            ["functions", function] => Self::Function(owned(function)),
            ["functions", function, "status"] => Self::FunctionStatus(owned(function)),
            ["functions", function, "keys", name @ ..] if name.len() < 2 => {
                Self::Keys(Keyed::Function(owned(function)), name.first().map(owned))
            }
            _ => Self::Unknown,
        }
    }
}

impl Dispatch {
    pub(super) async fn admin(&self, parts: &Parts, body: Body) -> Response<Body> {
        let target = Target::parse(parts.uri.path());
        let method = &parts.method;
        if target == Target::Ping && (method == Method::GET || method == Method::POST) {
            return empty(StatusCode::OK);
        }
        let presented = super::presented_key(parts);
        if !self.is_admin(presented.as_deref()).await {
            self.rejected(crate::metrics::Rejected::Unauthorized);
            return empty(StatusCode::UNAUTHORIZED);
        }
        match target {
            Target::Status if method == Method::GET => respond_json(StatusCode::OK, &self.status()),
            Target::Functions if method == Method::GET => match self.running().await {
                Ok(running) => respond_json(StatusCode::OK, &describe_all(&running, parts)),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            Target::Function(name) | Target::FunctionStatus(name) if method == Method::GET => {
                let is_status = parts.uri.path().trim_end_matches('/').ends_with("/status");
                match self.running().await {
                    Ok(running) => match running.find(&name) {
                        Some(_) if is_status => respond_json(StatusCode::OK, &json!({})),
                        Some(function) => respond_json(StatusCode::OK, &describe(&function, &running, parts)),
                        None => empty(StatusCode::NOT_FOUND),
                    },
                    Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
                }
            }
            Target::Function(name) if method == Method::POST => self.start_function(&name, body).await,
            Target::MasterKey => self.master_key(method, body).await,
            Target::Keys(Keyed::Function(function), name) => match self.running().await {
                Ok(running) => match running.find(&function) {
                    Some(function) => {
                        self.keys(method, KeyScope::Function(function.name()), name, body).await
                    }
                    None => empty(StatusCode::NOT_FOUND),
                },
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
            },
            Target::Keys(Keyed::HostFunctions, name) => {
                self.keys(method, KeyScope::HostFunctions, name, body).await
            }
            Target::Keys(Keyed::System, name) => self.keys(method, KeyScope::System, name, body).await,
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    /// Starts a function that is not called by HTTP, and does not wait for it.
    async fn start_function(&self, name: &str, body: Body) -> Response<Body> {
        let running = match self.running().await {
            Ok(running) => running,
            Err(why) => return text(StatusCode::SERVICE_UNAVAILABLE, &why),
        };
        let Some(function) = running.find(name) else { return empty(StatusCode::NOT_FOUND) };
        let input = match self.read_body(body).await {
            Ok(input) => input,
            Err(refusal) => return refusal,
        };
        let input = match serde_json::from_slice::<Json>(&input) {
            Ok(json) => json.get("input").cloned().unwrap_or(Json::Null),
            Err(_) if input.is_empty() => Json::Null,
            Err(error) => {
                let problem = format!("The body must be JSON such as {{\"input\": \"...\"}}: {error}\n");
                return text(StatusCode::BAD_REQUEST, &problem);
            }
        };
        running.start_manually(&function, &input);
        empty(StatusCode::ACCEPTED)
    }

    async fn master_key(&self, method: &Method, body: Body) -> Response<Body> {
        let key = match *method {
            Method::GET => {
                let keys = self.keys.host().await;
                keys.map(|keys| NamedKey { name: "_master".to_owned(), value: keys.master_key })
            }
            Method::POST | Method::PUT => match self.key_value(body).await {
                Ok(value) => self.keys.set_master(value).await,
                Err(refusal) => return refusal,
            },
            _ => return empty(StatusCode::METHOD_NOT_ALLOWED),
        };
        answer(key.map(|key| (StatusCode::OK, key_json(&key))))
    }

    async fn keys(
        &self,
        method: &Method,
        scope: KeyScope<'_>,
        name: Option<String>,
        body: Body,
    ) -> Response<Body> {
        let listed = match scope {
            KeyScope::HostFunctions => self.keys.host().await.map(|keys| keys.function_keys),
            KeyScope::System => self.keys.host().await.map(|keys| keys.system_keys),
            KeyScope::Function(name) => self.keys.function(name).await.map(|keys| keys.keys),
        };
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => return answer(Err(error)),
        };
        match (method, name.as_deref()) {
            (&Method::GET, None) => {
                let keys: Vec<Json> = listed.iter().map(key_json).collect();
                respond_json(StatusCode::OK, &json!({ "keys": keys, "links": [] }))
            }
            (&Method::GET, Some(name)) => match listed.iter().find(|key| key.name.eq_ignore_ascii_case(name))
            {
                Some(key) => respond_json(StatusCode::OK, &key_json(key)),
                None => empty(StatusCode::NOT_FOUND),
            },
            (&Method::POST | &Method::PUT, Some(name)) => {
                let exists = listed.iter().any(|key| key.name.eq_ignore_ascii_case(name));
                let value = match self.key_value(body).await {
                    Ok(value) => value,
                    Err(refusal) => return refusal,
                };
                let status = if exists { StatusCode::OK } else { StatusCode::CREATED };
                answer(self.keys.set(scope, name, value).await.map(|key| (status, key_json(&key))))
            }
            (&Method::DELETE, Some(name)) => match self.keys.remove(scope, name).await {
                Ok(true) => empty(StatusCode::NO_CONTENT),
                Ok(false) => empty(StatusCode::NOT_FOUND),
                Err(error) => answer(Err(error)),
            },
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    /// The value in `{"name": .., "value": ..}`; no body asks for a random one.
    async fn key_value(&self, body: Body) -> Result<Option<String>, Response<Body>> {
        let body = self.read_body(body).await?;
        if body.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice::<Json>(&body) {
            Ok(json) => {
                Ok(json.get("value").and_then(Json::as_str).filter(|v| !v.is_empty()).map(str::to_owned))
            }
            Err(error) => Err(text(
                StatusCode::BAD_REQUEST,
                &format!(
                    "The body must be JSON such as {{\"name\": \"mine\", \"value\": \"...\"}}: {error}\n"
                ),
            )),
        }
    }

    fn status(&self) -> Json {
        let (state, errors) = match &*self.phase.borrow() {
            Phase::Starting => ("Starting", Vec::new()),
            Phase::Running(running) => (
                "Running",
                running.errors.iter().map(|(name, why)| crate::boot::in_error(name, why)).collect(),
            ),
            Phase::Failed(why) => ("Error", vec![why.to_string()]),
        };
        let uptime_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        json!({
            "id": crate::contract::AppSettings::host_id(&self.app.settings),
            "state": state,
            "version": crate::service::HOST_VERSION,
            "versionDetails": concat!("chappe ", env!("CARGO_PKG_VERSION")),
            "platformVersion": "",
            "instanceId": "",
            "computerName": "",
            "processUptime": uptime_ms,
            "errors": errors,
            "functionAppContentEditingState": "NotAllowed",
        })
    }
}

fn answer(result: Result<(StatusCode, Json), ReadKeysError>) -> Response<Body> {
    match result {
        Ok((status, json)) => respond_json(status, &json),
        Err(error) => {
            let why = crate::error::chain(&error);
            tracing::error!(error = why, "keys cannot be read or written");
            let status = match error {
                // The disk, the file, or too many at once: none of it is the caller's, and it may be over in a moment.
                ReadKeysError::Registry(_) | ReadKeysError::Contended => StatusCode::SERVICE_UNAVAILABLE,
                ReadKeysError::Malformed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            };
            text(status, &format!("The keys cannot be read or stored, and nothing was changed: {why}\n"))
        }
    }
}

fn key_json(key: &NamedKey) -> Json {
    json!({ "name": key.name, "value": key.value })
}

fn describe_all(running: &RunningApp, parts: &Parts) -> Json {
    Json::Array(running.functions.iter().map(|function| describe(function, running, parts)).collect())
}

fn describe(function: &Arc<Function>, running: &RunningApp, parts: &Parts) -> Json {
    let declaration = &function.declaration;
    let name = function.name();
    let url = request::absolute_url(parts);
    let base = request::origin(&url).map(|origin| origin.to_string()).unwrap_or_default();
    let bindings: Vec<Json> =
        declaration.metadata.raw_bindings.iter().filter_map(|raw| serde_json::from_str(raw).ok()).collect();
    let invoke_url = match &declaration.trigger {
        Trigger::Http(http) => Json::String(format!("{base}{}", http.template.source())),
        Trigger::Timer(_) | Trigger::Manual | Trigger::Source => Json::Null,
    };
    json!({
        "name": name,
        "script_root_path_href": null,
        "script_href": null,
        "config_href": null,
        "test_data_href": null,
        "href": format!("{base}admin/functions/{name}"),
        "invoke_url_template": invoke_url,
        "language": running.language,
        "config": {
            "name": name,
            "entryPoint": declaration.metadata.entry_point,
            "scriptFile": declaration.metadata.script_file,
            "language": running.language,
            "bindings": bindings,
        },
        "files": null,
        "test_data": null,
        "isDisabled": declaration.is_disabled,
        "isDirect": matches!(declaration.trigger, Trigger::Http(_)),
        "isProxy": false,
    })
}
