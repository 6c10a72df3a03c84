//! The operations on functions: `/admin/functions`.

use std::io;
use std::path::PathBuf;

use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_messages::{Body, empty};
use serde_json::{Map, Value as Json, json};
use worker_protocol::FunctionMetadata;

use super::edit::{self, FunctionEdit};
use super::{AdminTarget, base};
use crate::error_table::response;
use crate::function::{Trigger, check_name};
use crate::function_error::FunctionError;
use crate::generation::{AppPhase, Generation};
use crate::http::dispatch::Dispatch;
use crate::http::request::is_json;
use crate::http::respond::{error, error_text, json_response};
use functions_contract::find_property;

impl Dispatch {
    pub(super) async fn functions(&self, target: &AdminTarget, parts: &Parts, body: Body) -> Response<Body> {
        let running = match self.running().await {
            Ok(running) => running,
            Err(why) => return error_text(&response::NOT_RUNNING, &why),
        };
        match (target, parts.method.as_str()) {
            (AdminTarget::Functions, "GET") => json_response(StatusCode::OK, &describe_all(&running, parts)),
            (AdminTarget::Function(name), "GET") => match describe_named(&running, name, parts) {
                Some(described) => json_response(StatusCode::OK, &described),
                None => error(&response::NOT_FOUND),
            },
            (AdminTarget::Function(name), "PUT") => {
                // The folder of a known function has its name as it was declared.
                let name = declared_name(&running, name).unwrap_or(name).to_owned();
                let app = running.app.dir.clone();
                // Not a use of the generation that the change replaces.
                drop(running);
                self.write_function(&name, app, parts, body).await
            }
            (AdminTarget::Function(name), "DELETE") => match declared_name(&running, name) {
                Some(name) if check_name(name).is_ok() => {
                    let (name, app) = (name.to_owned(), running.app.dir.clone());
                    drop(running);
                    self.delete_function(name, app).await
                }
                _ => error(&response::NOT_FOUND),
            },
            (AdminTarget::Function(name), "POST") => self.start_function(&running, name, parts, body).await,
            (AdminTarget::FunctionStatus(name), "GET") => self.function_status(&running, name),
            _ => error(&response::NOT_FOUND),
        }
    }

    /// Whether a function can run, and why a changed version of it is not in service.
    fn function_status(&self, running: &Generation, name: &str) -> Response<Body> {
        let is_named = |(other, _): &&(String, FunctionError)| other.eq_ignore_ascii_case(name);
        let in_error = running.errors.iter().find(is_named).map(|(_, why)| why.text.clone());
        if in_error.is_none() && running.find(name).is_none() {
            return error(&response::NOT_FOUND);
        }
        let reload_error = match &*self.phase.borrow() {
            AppPhase::Running { reload_error, .. } => reload_error.clone(),
            AppPhase::Starting | AppPhase::Failed(_) => None,
        };
        let not_reloaded = reload_error.and_then(|error| error.of_function(name));
        let errors: Vec<String> = in_error.into_iter().chain(not_reloaded).collect();
        let status = if errors.is_empty() { json!({}) } else { json!({ "errors": errors }) };
        json_response(StatusCode::OK, &status)
    }

    /// Starts a function by its name and does not wait for it.
    async fn start_function(
        &self,
        running: &Generation,
        name: &str,
        parts: &Parts,
        body: Body,
    ) -> Response<Body> {
        if !is_json(parts) {
            return error(&response::NOT_JSON);
        }
        let input = match self.read_body(body).await {
            Ok(input) => input,
            Err(rejection) => return rejection,
        };
        let input = match serde_json::from_slice::<Json>(&input) {
            Ok(Json::Object(object)) => object.get("input").cloned().unwrap_or(Json::Null),
            Ok(_) => {
                return error_text(
                    &response::INVALID_ADMIN_REQUEST,
                    "The body must be a JSON object such as {\"input\": \"...\"}.\n",
                );
            }
            Err(error) => {
                let problem = format!("The body must be JSON such as {{\"input\": \"...\"}}: {error}\n");
                return error_text(&response::INVALID_ADMIN_REQUEST, &problem);
            }
        };
        let Some(function) = running.find(name) else { return error(&response::NOT_FOUND) };
        if let Some(why) = running.only_by_http(&function) {
            return error_text(&response::INVALID_ADMIN_REQUEST, &format!("{why}\n"));
        }
        running.start_manually(&function, &input).await;
        empty(StatusCode::ACCEPTED)
    }

    /// Writes the folder of a function, and starts the app again. Responds with the function when it has started.
    async fn write_function(&self, name: &str, app: PathBuf, parts: &Parts, body: Body) -> Response<Body> {
        if let Err(why) = check_name(name) {
            return error_text(&response::INVALID_ADMIN_REQUEST, &format!("{}\n", why.text));
        }
        let body = match self.json_object(parts, body).await {
            Ok(body) => body,
            Err(rejection) => return rejection,
        };
        let edit = match FunctionEdit::parse(&body) {
            Ok(edit) => edit,
            Err(why) => return error_text(&response::INVALID_ADMIN_REQUEST, &format!("{why}.\n")),
        };
        if !edit.is_empty() {
            let function = name.to_owned();
            if let Some(rejection) = self.change_app(move || edit.write(&app, &function)).await {
                return rejection;
            }
        }
        let running = match self.running().await {
            Ok(running) => running,
            Err(why) => return error_text(&response::NOT_RUNNING, &why),
        };
        let Some(described) = describe_named(&running, name, parts) else {
            let text = format!(
                "The app has no function '{name}' after the change: its worker does not index it, or function.json has no bindings.\n"
            );
            return error_text(&response::APP_NOT_CHANGED, &text);
        };
        let mut created = json_response(StatusCode::CREATED, &described);
        let href = HeaderValue::try_from(format!("{}admin/functions/{name}", base(parts)));
        created.headers_mut().extend(href.ok().map(|href| (LOCATION, href)));
        created
    }

    /// Deletes the folder of a function, and starts the app again.
    async fn delete_function(&self, name: String, app: PathBuf) -> Response<Body> {
        let rejection = self.change_app(move || edit::delete(&app, &name)).await;
        rejection.unwrap_or_else(|| empty(StatusCode::NO_CONTENT))
    }

    /// Changes files of the app and starts it again; a response says why that failed.
    async fn change_app(
        &self,
        change: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Option<Response<Body>> {
        let changed = tokio::task::spawn_blocking(change).await;
        if let Err(error) = changed.map_err(io::Error::other).and_then(|changed| changed) {
            let text = format!("The files of the app cannot be changed: {error}\n");
            return Some(error_text(&response::APP_NOT_CHANGED, &text));
        }
        Some(self.restart().await).filter(|restarted| restarted.status() != StatusCode::OK)
    }

    async fn json_object(&self, parts: &Parts, body: Body) -> Result<Map<String, Json>, Response<Body>> {
        if !is_json(parts) {
            return Err(error(&response::NOT_JSON));
        }
        let body = self.read_body(body).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let text = format!("The body must be a JSON object such as {{\"config\": {{...}}}}: {error}\n");
            error_text(&response::INVALID_ADMIN_REQUEST, &text)
        })
    }
}

fn describe_all(running: &Generation, parts: &Parts) -> Json {
    let mut all: Vec<&FunctionMetadata> = all_metadata(running).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Json::Array(all.into_iter().map(|metadata| describe(metadata, running, parts)).collect())
}

/// All functions, also those in error.
fn all_metadata(running: &Generation) -> impl Iterator<Item = &FunctionMetadata> {
    let ready = running.functions.iter().map(|function| &function.declaration.metadata);
    ready.chain(&running.metadata_in_error)
}

/// A function by its name in any case.
fn named<'a>(running: &'a Generation, name: &str) -> Option<&'a FunctionMetadata> {
    all_metadata(running).find(|metadata| metadata.name.eq_ignore_ascii_case(name))
}

/// The name of a function as it was declared.
fn declared_name<'a>(running: &'a Generation, name: &str) -> Option<&'a str> {
    named(running, name).map(|metadata| metadata.name.as_str())
}

fn describe_named(running: &Generation, name: &str, parts: &Parts) -> Option<Json> {
    named(running, name).map(|metadata| describe(metadata, running, parts))
}

fn describe(metadata: &FunctionMetadata, running: &Generation, parts: &Parts) -> Json {
    let name = &metadata.name;
    let base = base(parts);
    let bindings: Vec<Json> =
        metadata.raw_bindings.iter().filter_map(|raw| serde_json::from_str(raw).ok()).collect();
    let function = running.find(name);
    let route = match function.as_ref().map(|function| &function.declaration.trigger) {
        Some(Trigger::Http(http)) => Some(http.template.source().to_owned()),
        Some(_) => None,
        None => declared_route(name, &bindings, &running.app.host.http.route_prefix),
    };
    let is_disabled = function.is_some_and(|function| function.declaration.is_disabled);
    json!({
        "name": name,
        "script_root_path_href": null,
        "script_href": null,
        "config_href": null,
        "test_data_href": null,
        "href": format!("{base}admin/functions/{name}"),
        "invoke_url_template": route.map(|route| format!("{base}{route}")),
        "language": running.app.language,
        "config": {
            "name": name,
            "entryPoint": metadata.entry_point,
            "scriptFile": metadata.script_file,
            "language": running.app.language,
            "bindings": bindings,
        },
        "files": null,
        "test_data": "",
        "isDisabled": is_disabled,
        "isDirect": false,
        "isProxy": false,
    })
}

/// The route of a function in error, as its `httpTrigger` declares it.
fn declared_route(name: &str, bindings: &[Json], prefix: &str) -> Option<String> {
    let text = |binding: &Map<String, Json>, property: &str| {
        find_property(binding, property).and_then(Json::as_str).map(str::to_owned)
    };
    let is_http = |binding: &&Map<String, Json>| {
        text(binding, "type").is_some_and(|kind| kind.eq_ignore_ascii_case("httpTrigger"))
    };
    let binding = bindings.iter().filter_map(Json::as_object).find(is_http)?;
    let route = text(binding, "route").filter(|route| !route.is_empty()).unwrap_or_else(|| name.to_owned());
    let route = route.trim_start_matches('/');
    Some(if prefix.is_empty() { route.to_owned() } else { format!("{prefix}/{route}") })
}
