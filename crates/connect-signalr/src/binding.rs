//! The input bindings `signalRConnectionInfo`, `signalRNegotiation` and `signalREndpoints`, and the output binding `signalR`.

use std::time::Duration;

use functions_contract::{BindingContext, BindingError, Reader, Sink, Value, find_property};
use futures_util::future::join_all;
use identity::Claims;
use serde_json::{Map, Value as Json};

use crate::endpoints::{Endpoint, Endpoints};
use crate::output::{ItemContent, OutputItem};

/// `signalRConnectionInfo`.
pub(crate) struct ConnectionInfo {
    pub(crate) endpoints: Endpoints,
    /// How long the clients' tokens are valid.
    pub(crate) token_lifetime: Duration,
}

#[async_trait::async_trait]
impl Reader for ConnectionInfo {
    /// The negotiate response for a client: `{"url", "accessToken"}`.
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError> {
        let info = access(self.endpoints.for_client(), context, self.token_lifetime)?;
        Ok(Value::Json(info.to_string().into()))
    }
}

/// `signalRNegotiation`: the function chooses the endpoint of a client.
pub(crate) struct Negotiation {
    pub(crate) endpoints: Endpoints,
    /// How long the clients' tokens are valid.
    pub(crate) token_lifetime: Duration,
}

#[async_trait::async_trait]
impl Reader for Negotiation {
    /// The facts of each endpoint, with the negotiate response for it as `connectionInfo`.
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError> {
        let endpoint = |endpoint: &Endpoint| {
            let mut facts = endpoint.to_json();
            facts.insert("connectionInfo".to_owned(), access(endpoint, context, self.token_lifetime)?);
            Ok(Json::Object(facts))
        };
        let endpoints =
            self.endpoints.all().iter().map(endpoint).collect::<Result<Vec<_>, BindingError>>()?;
        Ok(Value::Json(serde_json::json!({ "endpoints": endpoints }).to_string().into()))
    }
}

/// `signalREndpoints`.
pub(crate) struct EndpointList {
    pub(crate) endpoints: Endpoints,
}

#[async_trait::async_trait]
impl Reader for EndpointList {
    /// The facts of each endpoint.
    async fn read(&self, _: &BindingContext<'_>) -> Result<Value, BindingError> {
        let endpoints =
            self.endpoints.all().iter().map(|endpoint| Json::Object(endpoint.to_json())).collect();
        Ok(Value::Json(Json::Array(endpoints).to_string().into()))
    }
}

/// The address and token with which a client connects to an endpoint.
fn access(
    endpoint: &Endpoint,
    context: &BindingContext<'_>,
    token_lifetime: Duration,
) -> Result<Json, BindingError> {
    let hub = hub(context)?;
    let user = property(context.properties, "userId");
    let claims = token_claims(context.properties)?;
    let access = endpoint.service.client_access(hub, user, &claims, token_lifetime, context.origin)?;
    Ok(serde_json::json!({ "url": access.url, "accessToken": access.access_token }))
}

/// `signalR`.
pub(crate) struct MessageSink {
    pub(crate) endpoints: Endpoints,
}

#[async_trait::async_trait]
impl Sink for MessageSink {
    async fn write(&self, context: &BindingContext<'_>, items: Vec<Value>) -> Result<(), BindingError> {
        let hub = hub(context)?;
        // All items are parsed before the first one is sent, so that an output with a wrong item sends nothing.
        let items = items.iter().map(OutputItem::parse).collect::<Result<Vec<_>, _>>()?;
        for OutputItem { content, endpoints } in items {
            let endpoints = self.endpoints.for_item(endpoints.as_deref());
            let written = endpoints.iter().map(|endpoint| async {
                match &content {
                    ItemContent::Message(message) => endpoint.service.send(hub, message, context.trace).await,
                    ItemContent::GroupAction(change) => {
                        endpoint.service.change_group(hub, change, context.trace).await
                    }
                }
            });
            // An endpoint that fails does not keep the item from the others.
            let failed = join_all(written).await.into_iter().find_map(Result::err);
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

fn property<'a>(properties: &'a Map<String, Json>, name: &str) -> Option<&'a str> {
    find_property(properties, name).and_then(Json::as_str).filter(|text| !text.is_empty())
}

fn hub<'a>(context: &'a BindingContext<'_>) -> Result<&'a str, BindingError> {
    property(context.properties, "hubName").ok_or_else(|| {
        BindingError::Value(
            "hubName is empty after its expressions are resolved; name a hub, or provide the value"
                .to_owned(),
        )
    })
}

/// The claims of `idToken` that `claimTypeList` names. The token is the app's own input, verified by whoever issued it to the
/// app. Only the named claims are copied, and none that would change what our token permits.
fn token_claims(properties: &Map<String, Json>) -> Result<Claims, BindingError> {
    let mut claims = Claims::new();
    let Some(token) = property(properties, "idToken") else { return Ok(claims) };
    let named: Vec<&str> = match find_property(properties, "claimTypeList") {
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
        _ => return Ok(claims),
    };
    let unreadable = || {
        BindingError::Value(
            "idToken is not a JSON web token; bind it to a header or property that has one".to_owned(),
        )
    };
    let payload = token.split('.').nth(1).ok_or_else(unreadable)?;
    let payload = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
    let payload: Map<String, Json> =
        serde_json::from_slice(&payload.map_err(|_| unreadable())?).map_err(|_| unreadable())?;
    for name in named {
        let values = match payload.get(name) {
            Some(Json::Array(values)) => values.clone(),
            Some(value) => vec![value.clone()],
            None => continue,
        };
        for value in values {
            claims.push_user(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    Ok(claims)
}
