//! Webhooks of extensions (`/runtime/webhooks/{extension}`), and the same for services of this process, without a socket.

use std::sync::Arc;

use functions_contract::{PushExtension, PushRequest, PushResponse};
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use http_body_util::{BodyExt, Full};
use http_messages::Body;

use super::dispatch::Dispatch;
use super::respond::{error, error_text};
use crate::error_table::response as response_errors;
use crate::generation::{AppPhase, Generation};
use crate::push::PushedFunction;

/// The methods that the Azure Functions host accepts for webhooks.
const METHODS: &str = "DELETE, GET, OPTIONS, POST, PUT";

impl Dispatch {
    /// Responds to a request to the webhook of an extension; its caller needs the system key of the extension.
    pub(super) async fn webhook(&self, extension: &str, parts: Parts, body: Body) -> Response<Body> {
        if !METHODS.split(", ").any(|method| parts.method == method) {
            let mut response = error(&response_errors::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(METHODS));
            return response;
        }
        if let Some(rejection) = self.reject_unless_extension(&parts, extension).await {
            return rejection;
        }
        let Some(extension) = self.extension(extension).filter(|extension| extension.has_webhook()) else {
            return error(&response_errors::NOT_FOUND);
        };
        let running = match self.running().await {
            Ok(running) => running,
            Err(why) => return error_text(&response_errors::NOT_RUNNING, &why),
        };
        let body = match parts.method {
            Method::GET | Method::OPTIONS => bytes::Bytes::new(),
            _ => match self.read_body(body).await {
                Ok(body) => body,
                Err(rejection) => return rejection,
            },
        };
        let request = PushRequest::from_parts(parts, body);
        let response = self.push(&running, &*extension, request).await;
        response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
    }

    /// Whether a function waits for pushed events at an address, or at any if `address` is `None`; `None` while the app is starting.
    pub(crate) fn awaits_push(&self, extension: &str, address: Option<&str>) -> Option<bool> {
        match &*self.phase.borrow() {
            AppPhase::Starting => None,
            AppPhase::Failed(_) => Some(false),
            AppPhase::Running { generation, .. } => Some(match (address, self.extension(extension)) {
                (_, None) => false,
                (None, Some(_)) => generation.pushes.has(extension),
                (Some(address), Some(extension)) => {
                    generation.pushes.find(extension.name(), address.to_owned()).is_some()
                }
            }),
        }
    }

    /// Responds to a request of a service of this process. The error says that the app does not run.
    pub(crate) async fn push_in_process(
        &self,
        extension: &str,
        request: PushRequest,
    ) -> Result<PushResponse, String> {
        let running = self.running().await?;
        match self.extension(extension) {
            Some(extension) => Ok(self.push(&running, &*extension, request).await),
            None => Err(format!("no extension is named '{extension}'")),
        }
    }

    async fn push(
        &self,
        running: &Generation,
        extension: &dyn PushExtension,
        request: PushRequest,
    ) -> PushResponse {
        let address = match extension.address(&request) {
            Ok(address) => address,
            Err(response) => return *response,
        };
        let Some(function) = running.pushes.find(extension.name(), address) else {
            return extension.not_found(&request);
        };
        let binding = function.push.as_ref().expect("the table has only functions whose events are pushed");
        let pushed = PushedFunction {
            function: Arc::clone(function),
            invoker: running.invoker.clone(),
            stop: running.retry_stop(),
            outstanding: Arc::clone(&running.http.outstanding),
            concurrent: running.http.concurrent.clone(),
        };
        binding.trigger.receive(request, &pushed).await
    }

    fn extension(&self, name: &str) -> Option<Arc<dyn PushExtension>> {
        self.extensions.iter().find(|extension| extension.name() == name).cloned()
    }
}

/// The extension in the path of a webhook, in lower case. Webhooks take precedence over functions.
pub(super) fn extension_of(path: &str) -> Option<String> {
    let path = path.to_ascii_lowercase();
    let name = path.strip_prefix("/runtime/webhooks/")?.split('/').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}
