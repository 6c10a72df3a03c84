//! Messages to clients, calls of their methods, and the end of their connections.

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Response, StatusCode};
use signalr_protocol::{CompletionResult, HubMessage, HubProtocol, msgpack_to_json};
use trace::TraceContext;

use super::{Call, target};
use crate::engine::{
    Candidate, ClientResult, Closing, ConnectionId, InvokeError, OutgoingMessage, Predicate, Publish, Target,
};
use crate::error::Refusal;
use crate::filter::{Filter, Seen};
use crate::from_protocol::{Api, Payload, To, commands, stream_id, stream_item};
use crate::{Body, to_protocol};

const CONNECTION_ABSENT: &str = "Error.Connection.NotExisted";

impl Call<'_> {
    pub(super) async fn send(&self, to: To, body: &Bytes) -> Result<StatusCode, Refusal> {
        let message = Payload::read(&self.head.headers, body)?.message()?;
        // Who is not there gets nothing, and the sender is told nothing (reference, 2.1).
        if let Some(target) = target(to)? {
            self.publish(target, message).await?;
        }
        Ok(StatusCode::ACCEPTED)
    }

    /// One item of a stream that a client asked for; with `completed=true` the last one.
    pub(super) async fn stream_item(
        &self,
        connection: &str,
        stream: &str,
        body: &Bytes,
    ) -> Result<StatusCode, Refusal> {
        let stream = stream_id(stream)?;
        let item = stream_item(stream, &self.head.headers, body)?;
        let completed = self.text("completed").map_or(Ok(false), truth).map_err(|()| {
            Refusal::bad_request("InvalidCompleted", "completed is true or false").about("completed")
        })?;
        if let Ok(id) = ConnectionId::parse(connection) {
            self.publish(Target::Connection(id), item).await?;
            if completed {
                self.publish(Target::Connection(id), end_of(stream, None)).await?;
            }
        }
        Ok(StatusCode::ACCEPTED)
    }

    /// The end of a stream that a client asked for; with a reason it is an error.
    pub(super) async fn stream_end(&self, connection: &str, stream: &str) -> Result<StatusCode, Refusal> {
        let stream = stream_id(stream)?;
        // The vendor's description says `reason`, and its SDK sends `error`.
        let reason = self.text("reason").or_else(|| self.text("error"));
        if let Ok(id) = ConnectionId::parse(connection) {
            self.publish(Target::Connection(id), end_of(stream, reason)).await?;
        }
        Ok(StatusCode::ACCEPTED)
    }

    async fn publish(&self, target: Target, message: OutgoingMessage) -> Result<(), Refusal> {
        let traceparent = self.head.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let publish = Publish {
            hub: self.hub.clone(),
            target,
            excluded: self.excluded(),
            excluded_users: Vec::new(),
            message,
            trace: traceparent.and_then(TraceContext::parse),
        };
        Ok(self.shared.engine.publish(publish).await?)
    }

    /// Commands for the connections that a filter chooses, or for all.
    pub(super) async fn execute(&self, body: &Bytes) -> Result<StatusCode, Refusal> {
        let filter = self
            .text("filter")
            .map(Filter::parse)
            .transpose()
            .map_err(|error| Refusal::bad_request("InvalidFilter", error.to_string()).about("filter"))?;
        let actions = commands(body)?;
        let which = Predicate::new(move |candidate: &Candidate<'_>| {
            filter.as_ref().is_none_or(|filter| {
                let connection = candidate.connection.to_string();
                let (user, groups) = (candidate.user, candidate.groups);
                filter.matches(Seen { connection: &connection, user, groups })
            })
        });
        self.shared.engine.execute(&self.hub, which, actions).await?;
        Ok(StatusCode::ACCEPTED)
    }

    /// Calls a method of one client and answers with its result.
    pub(super) async fn invoke(&self, connection: &str, body: &Bytes) -> Result<Response<Body>, Refusal> {
        let payload = Payload::read(&self.head.headers, body)?;
        let engine = &self.shared.engine;
        let invocation_id = engine.issue().token.to_string();
        let message = payload.call(&invocation_id)?;
        let Ok(id) = ConnectionId::parse(connection) else { return Err(refused(InvokeError::NotFound)) };
        let patience = Duration::from_millis(self.shared.options.invoke_timeout_ms);
        let result = engine.call(&self.hub, id, invocation_id.clone().into(), message, patience).await;
        let ClientResult { protocol, outcome } = result.map_err(refused)?;
        if self.wants_bytes() {
            return Ok(completion(protocol, &invocation_id, outcome));
        }
        let result = outcome
            .map_err(|error| Refusal::bad_request("ClientInvocationFailed", error).about("connectionId"))?;
        Ok(to_protocol::json(answer(protocol, result)?))
    }

    /// Whether the caller reads a framed completion in the client's own protocol, as the management SDK does, instead of JSON.
    fn wants_bytes(&self) -> bool {
        let accept = self.head.headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let mut kinds =
            accept.flat_map(|value| value.split(',')).map(|kind| kind.split(';').next().unwrap_or(kind));
        kinds.any(|kind| kind.trim().eq_ignore_ascii_case("application/octet-stream"))
    }

    pub(super) async fn close(&self, to: To) -> Result<StatusCode, Refusal> {
        let status = match (&to, self.api) {
            (To::Connection(_), Api::V1) => StatusCode::ACCEPTED,
            (To::Connection(_), Api::Dated) => StatusCode::OK,
            _ => StatusCode::NO_CONTENT,
        };
        let allow_reconnect = self.text("allowReconnect").map_or(Ok(true), truth).map_err(|()| {
            let message = "allowReconnect is true or false";
            Refusal::bad_request("InvalidAllowReconnect", message).about("allowReconnect")
        })?;
        let closing = Closing { reason: self.text("reason").map(Into::into), allow_reconnect };
        if let Some(target) = target(to)? {
            self.shared.engine.close(&self.hub, &target, &self.excluded(), &closing).await?;
        }
        Ok(status)
    }
}

/// A flag of a query.
fn truth(text: &str) -> Result<bool, ()> {
    text.to_ascii_lowercase().parse().map_err(|_| ())
}

fn end_of(stream: &str, reason: Option<&str>) -> OutgoingMessage {
    match reason {
        Some(reason) => OutgoingMessage::completion_error(stream, reason),
        None => {
            OutgoingMessage::completion(stream, None).expect("without a result there is nothing to refuse")
        }
    }
}

/// `{result?, protocol?}`: the protocol is named where the result could not be made JSON, which is then in base64.
fn answer(protocol: HubProtocol, result: Option<Bytes>) -> Result<String, Refusal> {
    use base64::Engine as _;
    let Some(result) = result else { return Ok("{}".to_owned()) };
    let json = match protocol {
        HubProtocol::Json => result.to_vec(),
        HubProtocol::MessagePack => {
            let mut json = Vec::new();
            msgpack_to_json(&result, &mut json).map_err(|error| {
                let message = format!("the client's result cannot be said in JSON: {error}");
                Refusal::bad_request("ClientInvocationFailed", message)
            })?;
            json
        }
        HubProtocol::BlazorPack => {
            let result = base64::engine::general_purpose::STANDARD.encode(result);
            return Ok(serde_json::json!({ "result": result, "protocol": protocol.name() }).to_string());
        }
    };
    let json = String::from_utf8(json)
        .map_err(|_| Refusal::bad_request("ClientInvocationFailed", "the client's result is not UTF-8"))?;
    Ok(format!("{{\"result\":{json}}}"))
}

/// The completion as the client sent it, in its own protocol and framed.
fn completion(
    protocol: HubProtocol,
    invocation_id: &str,
    outcome: Result<Option<Bytes>, String>,
) -> Response<Body> {
    let result = match &outcome {
        Ok(Some(value)) => CompletionResult::Value(value.as_ref().into()),
        Ok(None) => CompletionResult::Void,
        Err(error) => CompletionResult::Error(error.into()),
    };
    let completion =
        signalr_protocol::Completion { headers: Vec::new(), invocation_id: invocation_id.into(), result };
    let mut framed = Vec::new();
    HubMessage::Completion(completion).encode(protocol, &mut framed);
    to_protocol::framed_result(protocol.name(), framed.into())
}

fn refused(error: InvokeError) -> Refusal {
    let message = error.to_string();
    match error {
        InvokeError::NotFound | InvokeError::Disconnected => Refusal::absent(CONNECTION_ABSENT, message),
        InvokeError::Untranslatable => Refusal::bad_request("InvalidBody", message),
        // The SDK repeats a message whose answer is above 500. A call that took too long was carried out perhaps, and must not be
        // repeated: the vendor's own timeouts are 500, for this reason.
        InvokeError::Timeout => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InvocationTimeout", message),
        InvokeError::TooMany => Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TooManyInvocations", message),
        InvokeError::Stopped => Refusal::stopping(),
    }
}
