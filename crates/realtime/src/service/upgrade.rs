//! Upgrades a request to a WebSocket: the checks, and the response 101.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_messages::Body;
use websocket::accept_upgrade;

use crate::error_table;
use crate::rejection::Rejection;

/// A checked request for a WebSocket.
pub(super) struct Switch {
    pub(super) upgrade: edge::Upgrade,
    accept: String,
}

impl Switch {
    /// Checks the request (RFC 6455, 4.2.1), and removes its connection from it.
    pub(super) fn of(request: &mut Request<Body>) -> Result<Self, Rejection> {
        let accept = accept_upgrade(request).map_err(|refused| {
            let rejection = Rejection::new(&error_table::WEBSOCKET_HANDSHAKE, refused.to_string())
                .with_status(refused.status());
            match refused.header() {
                Some((name, value)) => rejection.with(name, HeaderValue::from_static(value)),
                None => rejection,
            }
        })?;
        let upgrade = request.extensions_mut().remove::<edge::Upgrade>().ok_or_else(|| {
            let message = "this listener does not support WebSocket upgrades";
            Rejection::new(&error_table::UPGRADE_UNAVAILABLE, message)
        })?;
        Ok(Self { upgrade, accept })
    }

    /// The connection, and the response 101 after which it is a WebSocket.
    pub(super) fn into_parts(self) -> (edge::Upgrade, Response<Body>) {
        let mut response = http_messages::empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&self.accept).expect("base64 is a header value");
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        (self.upgrade, response)
    }
}
