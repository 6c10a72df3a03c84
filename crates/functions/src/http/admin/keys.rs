//! `/admin/…/keys`: reads, sets and removes the keys of the host and of functions.

use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_messages::{Body, empty, error_chain};
use serde_json::{Value as Json, json};

use super::super::dispatch::Dispatch;
use super::super::request::is_json;
use super::super::respond::{error, error_text, json_response};
use crate::error_table::response;
use crate::keys::{KeyScope, NamedKey, ReadKeysError};

impl Dispatch {
    pub(super) async fn master_key(&self, parts: &Parts, href: &str, body: Body) -> Response<Body> {
        let key = match parts.method {
            Method::GET => {
                let keys = self.keys.host().await;
                keys.map(|keys| NamedKey { name: "_master".to_owned(), value: keys.master_key })
            }
            Method::POST | Method::PUT => match self.key_value(parts, body).await {
                Ok(value) => self.keys.set_master(value).await,
                Err(rejection) => return rejection,
            },
            Method::DELETE => {
                return error_text(&response::INVALID_ADMIN_REQUEST, "Cannot delete System Key.");
            }
            _ => return error(&response::NOT_FOUND),
        };
        respond(key.map(|key| (StatusCode::OK, one_key(&key, href))))
    }

    pub(super) async fn keys_of_function(
        &self,
        parts: &Parts,
        href: &str,
        function: &str,
        name: Option<String>,
        body: Body,
    ) -> Response<Body> {
        match self.running().await {
            Ok(running) => match running.find(function) {
                Some(function) => {
                    self.keys(parts, href, KeyScope::Function(function.name()), name, body).await
                }
                None => error(&response::NOT_FOUND),
            },
            Err(why) => error_text(&response::NOT_RUNNING, &why),
        }
    }

    pub(super) async fn host_keys(
        &self,
        parts: &Parts,
        href: &str,
        name: Option<String>,
        body: Body,
    ) -> Response<Body> {
        self.keys(parts, href, KeyScope::HostFunctions, name, body).await
    }

    pub(super) async fn system_keys(
        &self,
        parts: &Parts,
        href: &str,
        name: Option<String>,
        body: Body,
    ) -> Response<Body> {
        self.keys(parts, href, KeyScope::System, name, body).await
    }

    async fn keys(
        &self,
        parts: &Parts,
        href: &str,
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
            Err(error) => return respond(Err(error)),
        };
        match (&parts.method, name.as_deref()) {
            (&Method::GET, None) => {
                let keys: Vec<Json> = listed.iter().map(key_json).collect();
                json_response(StatusCode::OK, &json!({ "keys": keys, "links": links(href) }))
            }
            (&Method::GET, Some(name)) => match listed.iter().find(|key| key.name.eq_ignore_ascii_case(name))
            {
                Some(key) => json_response(StatusCode::OK, &one_key(key, href)),
                None => error(&response::NOT_FOUND),
            },
            (&Method::POST | &Method::PUT, Some(name)) => {
                let exists = listed.iter().any(|key| key.name.eq_ignore_ascii_case(name));
                let value = match self.key_value(parts, body).await {
                    Ok(value) => value,
                    Err(rejection) => return rejection,
                };
                let status = if exists { StatusCode::OK } else { StatusCode::CREATED };
                let set = self.keys.set(scope, name, value).await;
                let mut response = respond(set.map(|key| (status, one_key(&key, href))));
                if response.status() == StatusCode::CREATED
                    && let Ok(location) = HeaderValue::try_from(href)
                {
                    response.headers_mut().insert(LOCATION, location);
                }
                response
            }
            (&Method::DELETE, Some(name)) => match self.keys.remove(scope, name).await {
                Ok(true) => empty(StatusCode::NO_CONTENT),
                Ok(false) => error(&response::NOT_FOUND),
                Err(error) => respond(Err(error)),
            },
            _ => error(&response::NOT_FOUND),
        }
    }

    /// The value in `{"name": .., "value": ..}`. PUT requires one; POST without one generates it.
    async fn key_value(&self, parts: &Parts, body: Body) -> Result<Option<String>, Response<Body>> {
        let is_required = parts.method == Method::PUT;
        if is_required && !is_json(parts) {
            return Err(error(&response::NOT_JSON));
        }
        let body = self.read_body(body).await?;
        if body.is_empty() && !is_required {
            return Ok(None);
        }
        let value = match serde_json::from_slice::<Json>(&body) {
            Ok(json) => {
                json.get("value").and_then(Json::as_str).filter(|value| !value.is_empty()).map(str::to_owned)
            }
            Err(error) => {
                let why = format!(
                    "The body must be JSON such as {{\"name\": \"mine\", \"value\": \"...\"}}: {error}\n"
                );
                return Err(error_text(&response::INVALID_ADMIN_REQUEST, &why));
            }
        };
        if is_required && value.is_none() {
            return Err(error_text(&response::INVALID_ADMIN_REQUEST, "Invalid key value"));
        }
        Ok(value)
    }
}

fn respond(result: Result<(StatusCode, Json), ReadKeysError>) -> Response<Body> {
    match result {
        Ok((status, json)) => json_response(status, &json),
        Err(cause) => {
            let why = error_chain(&cause);
            let description = match cause {
                // The disk, the file, or too many concurrent changes: not the fault of the caller, and a retry may succeed.
                ReadKeysError::Registry(_) | ReadKeysError::Contended => &response::KEYS_UNAVAILABLE,
                ReadKeysError::Malformed { .. } => &response::KEYS_DAMAGED,
            };
            tracing::error!(error = why, code = description.code, "keys cannot be read or written");
            let text = format!("The keys cannot be read or stored; nothing was changed: {why}\n");
            error_text(description, &text)
        }
    }
}

fn key_json(key: &NamedKey) -> Json {
    json!({ "name": key.name, "value": key.value })
}

/// A key with the links of its own address.
fn one_key(key: &NamedKey, href: &str) -> Json {
    json!({ "name": key.name, "value": key.value, "links": links(href) })
}

fn links(href: &str) -> Json {
    json!([{ "rel": "self", "href": href }])
}
