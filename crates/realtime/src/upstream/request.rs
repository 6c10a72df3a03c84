//! The request that carries an event to its upstream. Pure.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use identity::KeySet;
use ring::hmac;
use signalr_protocol::{HubProtocol, TransferFormat};

use super::claims;
use super::template::Category;
use realtime_engine::{ClientConnection, RemoteEndpoint};

const CONNECTION_ID: HeaderName = HeaderName::from_static("x-asrs-connection-id");
const HUB: HeaderName = HeaderName::from_static("x-asrs-hub");
const CATEGORY: HeaderName = HeaderName::from_static("x-asrs-category");
const EVENT: HeaderName = HeaderName::from_static("x-asrs-event");
const USER_ID: HeaderName = HeaderName::from_static("x-asrs-user-id");
const USER_CLAIMS: HeaderName = HeaderName::from_static("x-asrs-user-claims");
const USER_CLAIMS_ENCODED: HeaderName = HeaderName::from_static("x-asrs-user-claims-encoded");
const CLIENT_QUERY: HeaderName = HeaderName::from_static("x-asrs-client-query");
const SIGNATURE: HeaderName = HeaderName::from_static("x-asrs-signature");
/// Our own headers, for an upstream that stores nothing between two events.
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-chappe-invocation-id");
const HUB_PROTOCOL: HeaderName = HeaderName::from_static("x-chappe-hub-protocol");
const TRANSPORT: HeaderName = HeaderName::from_static("x-chappe-transport");
const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("x-chappe-client-address");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The content types of bodies; the Functions extension accepts only these two.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const MESSAGEPACK: HeaderValue = HeaderValue::from_static("application/x-msgpack");

/// The body of a `connected` notification.
const CONNECTED: &[u8] = br#"{"type":10}"#;

/// The body of a request and its content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    content_type: HeaderValue,
    body: Bytes,
    /// The invocation id that the message has or belongs to.
    call: Option<HeaderValue>,
}

impl Content {
    /// A client has connected.
    pub(crate) fn connected() -> Self {
        Self { content_type: JSON, body: Bytes::from_static(CONNECTED), call: None }
    }

    /// A client has disconnected; `error` says why, if it was an error.
    pub(crate) fn disconnected(error: Option<&str>) -> Self {
        let body = match error {
            Some(error) => serde_json::json!({ "type": 11, "error": error }).to_string().into(),
            None => Bytes::from_static(br#"{"type":11}"#),
        };
        Self { content_type: JSON, body, call: None }
    }

    /// A hub message of a client without its framing. `call` is the invocation id of the message, or of the stream that it
    /// belongs to.
    pub(crate) fn message(protocol: HubProtocol, payload: Bytes, call: Option<&str>) -> Self {
        let content_type = match protocol.transfer_format() {
            TransferFormat::Text => JSON,
            TransferFormat::Binary => MESSAGEPACK,
        };
        Self { content_type, body: payload, call: call.map(claims::header) }
    }
}

/// Builds the request (reference, 3.2). `signature` is from [`signature`].
pub(crate) fn build(
    address: Uri,
    client: &ClientConnection,
    category: Category,
    event: &str,
    content: Content,
    signature: &HeaderValue,
) -> Request<Bytes> {
    let mut request = Request::new(content.body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = address;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, content.content_type);
    headers.insert(CONNECTION_ID, claims::header(&client.id.to_string()));
    headers.insert(HUB, claims::header(client.hub.name()));
    headers.insert(CATEGORY, HeaderValue::from_static(category.as_str()));
    headers.insert(EVENT, claims::header(event));
    headers.insert(SIGNATURE, signature.clone());
    // An empty claim is not a user id.
    if let Some(user) = client.user.as_ref().filter(|user| !user.as_str().is_empty()) {
        headers.insert(USER_ID, claims::header(user.as_str()));
    }
    if let Some(call) = content.call {
        headers.insert(INVOCATION_ID, call);
    }
    headers.insert(HUB_PROTOCOL, HeaderValue::from_static(client.protocol.name()));
    if let Some(client_context) = &client.client_context {
        insert_facts(headers, &client_context.claims, &client_context.query);
        if let Some(RemoteEndpoint { transport, address }) = client_context.remote {
            headers.insert(TRANSPORT, HeaderValue::from_static(transport.name()));
            if let Some(address) = address {
                headers.insert(CLIENT_ADDRESS, claims::header(&address.to_string()));
            }
        }
    }
    request
}

fn insert_facts(headers: &mut HeaderMap, token: &str, query: &str) {
    let token = claims::parse(token);
    let listed = claims::listed(&token);
    for (name, value) in
        [(USER_CLAIMS, claims::classic(&listed)), (USER_CLAIMS_ENCODED, claims::encoded(&listed))]
    {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    let query = query.trim_start_matches('?');
    if !query.is_empty() {
        headers.insert(CLIENT_QUERY, claims::verbatim(&format!("?{query}")));
    }
}

/// Adds the trace that the request belongs to.
pub(crate) fn trace(request: &mut Request<Bytes>, traceparent: &str) {
    request.headers_mut().insert(TRACEPARENT, claims::header(traceparent));
}

/// Adds a bearer token. It is marked as a secret, so that no log shows it.
pub(crate) fn authorize(request: &mut Request<Bytes>, token: &str) {
    let mut value = claims::verbatim(&format!("Bearer {token}"));
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
}

/// `sha256=<hex>` of the connection id under each key, with commas between and no space: the Functions extension splits at the
/// comma and compares each part without regard to case. Two equal keys make one signature.
pub(crate) fn signature(connection_id: &str, keys: &KeySet) -> HeaderValue {
    let mut signing: Vec<&str> = Vec::new();
    for key in keys.iter() {
        if !signing.contains(&key.expose()) {
            signing.push(key.expose());
        }
    }
    let mut text = String::new();
    for key in signing {
        if !text.is_empty() {
            text.push(',');
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        text.push_str("sha256=");
        for byte in hmac::sign(&key, connection_id.as_bytes()).as_ref() {
            text.push_str(&format!("{byte:02x}"));
        }
    }
    HeaderValue::from_str(&text).expect("hexadecimal digits are a header value")
}

#[cfg(test)]
mod tests;
