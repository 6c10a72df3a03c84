//! `signalRTrigger`: the invocations of clients, and the beginning and end of their connections, invoke functions.
//!
//! The events come as requests in the upstream protocol of Azure SignalR Service: over HTTP from a service that has
//! `/runtime/webhooks/signalr` as its upstream, or as values from the realtime service of this process, which the connection string of
//! the function names. The responses are those of the Azure Functions extension.

mod address;
mod claims;
mod context;
mod declaration;
mod headers;
mod message;
mod signature;

use functions_contract::{PushError, PushEvent, PushFunction, PushRequest, PushResponse, PushTrigger, Value};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use identity::AccessKey;
use signalr_protocol::CompletionResult;
use trace::TraceContext;

pub use address::{InProcessCaller, trigger_address};
pub(crate) use address::{Routing, plain};
pub(crate) use declaration::{Declaration, TriggerEvent};
use headers::UpstreamHeaders;
use message::{ParsedInvocation, completion};

/// What the Azure Functions extension tells a client whose invocation failed without an exception of the function.
const FAILED: &str = "Method execution failed.";

/// The trigger of one function.
pub(crate) struct SignalRTrigger {
    pub(crate) declaration: Declaration,
    /// The keys with which the services sign their requests; none for connections without a key, whose requests only the system key of
    /// the extension protects.
    pub(crate) keys: Vec<AccessKey>,
    /// The services of this process that the connection strings name.
    pub(crate) services: Vec<String>,
}

#[async_trait::async_trait]
impl PushTrigger for SignalRTrigger {
    fn addresses(&self) -> Vec<String> {
        let Declaration { hub, category, event, .. } = &self.declaration;
        let by_http = trigger_address(None, hub, category, event);
        let in_process =
            self.services.iter().map(|service| trigger_address(Some(service), hub, category, event));
        std::iter::once(by_http).chain(in_process).collect()
    }

    async fn receive(&self, request: PushRequest, function: &dyn PushFunction) -> PushResponse {
        let (parts, body) = request.into_parts();
        let headers = UpstreamHeaders(&parts.headers);
        let connection = headers.text("connection-id");
        if connection.is_empty() {
            return plain(StatusCode::BAD_REQUEST, "The header X-ASRS-Connection-Id is missing.");
        }
        // Requests of this process come from the service that the connection string names; they need no proof.
        let is_in_process = parts.extensions.get::<InProcessCaller>().is_some();
        let signatures = headers.text("signature");
        let is_signed = self.keys.iter().any(|key| signature::is_valid(&signatures, &connection, key));
        if !is_in_process && !self.keys.is_empty() && !is_signed {
            return plain(
                StatusCode::UNAUTHORIZED,
                "The header X-ASRS-Signature has no signature by the access key of the connection string.",
            );
        }
        match self.declaration.kind {
            TriggerEvent::Connected => {
                let event = self.event(&parts, None, None, Vec::new());
                match self.invoke(function, Ok(event)).await {
                    Ok(_) => status(StatusCode::OK),
                    Err(error) => temporary(&error).unwrap_or_else(|| status(StatusCode::FORBIDDEN)),
                }
            }
            TriggerEvent::Disconnected => {
                let event = self.event(&parts, None, message::close_error(&body), Vec::new());
                // The connection has ended; whether the function fails changes nothing for the service.
                match self.invoke(function, Ok(event)).await {
                    Ok(_) => status(StatusCode::OK),
                    Err(error) => temporary(&error).unwrap_or_else(|| status(StatusCode::OK)),
                }
            }
            TriggerEvent::Message => self.message(&parts, &body, function).await,
        }
    }
}

impl SignalRTrigger {
    async fn message(&self, parts: &Parts, body: &[u8], function: &dyn PushFunction) -> PushResponse {
        let invocation = match ParsedInvocation::parse(&parts.headers, body) {
            Ok(invocation) => invocation,
            Err(why) => return plain(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string()),
        };
        if !invocation.target.eq_ignore_ascii_case(&UpstreamHeaders(&parts.headers).text("event")) {
            let why = "The method of the message is not the one in the header X-ASRS-Event.";
            return plain(StatusCode::INTERNAL_SERVER_ERROR, why);
        }
        let event = self.parameters(&invocation).map(|parameters| {
            let arguments = String::from_utf8_lossy(&invocation.arguments);
            self.event(parts, Some(&arguments), None, parameters)
        });
        let result = self.invoke(function, event).await;
        if let Err(error) = &result
            && let Some(response) = temporary(error)
        {
            return response;
        }
        let Some(id) = &invocation.id else { return status(StatusCode::OK) };
        let protocol = invocation.protocol;
        let encoded = result.and_then(|value| {
            message::encoded(&value, protocol).map_err(|why| PushError::Function {
                message: format!("The function returned a value that cannot be sent: {why}"),
            })
        });
        let result = match encoded {
            Ok(result) => CompletionResult::Value(result.into()),
            Err(PushError::Function { message }) => CompletionResult::Error(message.into()),
            Err(_) => CompletionResult::Error(FAILED.into()),
        };
        let mut response = Response::new(completion(id, result, protocol));
        if let Some(content_type) = parts.headers.get(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        response
    }

    /// Invokes the function, or fails as the function would whose arguments do not fit.
    async fn invoke(
        &self,
        function: &dyn PushFunction,
        event: Result<PushEvent, String>,
    ) -> Result<Value, PushError> {
        let event = event.map_err(|message| PushError::Function { message })?;
        function.invoke(event).await
    }

    /// The arguments under the names of `parameterNames`; the error is the text of the extension.
    fn parameters(&self, invocation: &ParsedInvocation) -> Result<Vec<(String, Value)>, String> {
        let names = &self.declaration.parameter_names;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let arguments = invocation.argument_values();
        if arguments.len() != names.len() {
            return Err(format!(
                "The function accept {} arguments but message provided {}.",
                names.len(),
                arguments.len()
            ));
        }
        let named = names.iter().cloned().zip(arguments);
        // The host leaves out binding data without a value.
        Ok(named.filter(|(_, value)| *value != Value::Null).collect())
    }

    fn event(
        &self,
        parts: &Parts,
        arguments: Option<&str>,
        error: Option<String>,
        parameters: Vec<(String, Value)>,
    ) -> PushEvent {
        let headers = UpstreamHeaders(&parts.headers);
        let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
        PushEvent {
            data: Value::Json(context::invocation_context(&headers, arguments, error.as_deref()).into()),
            metadata: parameters,
            reason: format!(
                "SignalR event '{}' ({}) of hub '{}'",
                headers.text("event"),
                headers.text("category"),
                headers.text("hub")
            ),
            parent: traceparent.and_then(TraceContext::parse),
            links: Vec::new(),
        }
    }
}

/// The response to an event that the service may send again.
fn temporary(error: &PushError) -> Option<PushResponse> {
    if !matches!(error, PushError::Overloaded | PushError::Unavailable(_)) {
        return None;
    }
    let mut response = plain(error.status(), &error.to_string());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Some(response)
}

fn status(status: StatusCode) -> PushResponse {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
