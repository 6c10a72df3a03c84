//! The input binding `signalRConnectionInfo` and the output binding `signalR`.

use std::sync::Arc;
use std::time::Duration;

use functions_contract::{BindingContext, BindingError, Reader, Sink, Value, find_property};
use identity::Claims;
use serde_json::{Map, Value as Json};

use crate::output::OutputItem;
use crate::service::SignalRService;

/// `signalRConnectionInfo`.
pub(crate) struct ConnectionInfo {
    pub(crate) service: Arc<dyn SignalRService>,
    /// How long the clients' tokens are valid.
    pub(crate) token_lifetime: Duration,
}

#[async_trait::async_trait]
impl Reader for ConnectionInfo {
    /// The negotiate response for a client: `{"url", "accessToken"}`.
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError> {
        let hub = hub(context)?;
        let user = property(context.properties, "userId");
        let claims = token_claims(context.properties)?;
        let access = self.service.client_access(hub, user, &claims, self.token_lifetime, context.origin)?;
        let info = serde_json::json!({ "url": access.url, "accessToken": access.access_token });
        Ok(Value::Json(info.to_string().into()))
    }
}

/// `signalR`.
pub(crate) struct MessageSink {
    pub(crate) service: Arc<dyn SignalRService>,
}

#[async_trait::async_trait]
impl Sink for MessageSink {
    async fn write(&self, context: &BindingContext<'_>, items: Vec<Value>) -> Result<(), BindingError> {
        let hub = hub(context)?;
        // All items are parsed before the first one is sent, so that an output with a wrong item sends nothing.
        let items = items.iter().map(OutputItem::parse).collect::<Result<Vec<_>, _>>()?;
        for item in items {
            match item {
                OutputItem::Message(message) => self.service.send(hub, &message, context.trace).await?,
                OutputItem::GroupAction(change) => {
                    self.service.change_group(hub, &change, context.trace).await?;
                }
            }
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
