//! The response to a POST of a client.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use crate::error_table;
use crate::rejection::Rejection;
use crate::service::client::rejections::unknown_id;
use http_messages::Body;
use realtime_engine::ReceiveResult;

/// Most bytes that the framing of a hub protocol adds to one message.
pub(super) const FRAMING_BYTES: usize = 8;

/// The response to a POST whose messages the engine has received.
pub(super) fn response_to(received: ReceiveResult) -> Result<Response<Body>, Rejection> {
    match received {
        ReceiveResult::Accepted => Ok(plain(StatusCode::OK)),
        ReceiveResult::Gone => Err(unknown_id()),
        ReceiveResult::Busy => {
            let message = "too many requests of this connection wait for its app server; send again when they have a response";
            Err(Rejection::new(&error_table::TOO_MANY_REQUESTS, message))
        }
    }
}

/// A response without a body.
pub(super) fn plain(status: StatusCode) -> Response<Body> {
    let mut response = http_messages::empty(status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
