//! Acks: the results of requests, as responses to the app server.

use signalr_protocol::service::AckStatus;
use tracing::debug;

use crate::servers::request::InvalidRequest;
use crate::servers::server_connection::ServerConnection;
use crate::servers::to_protocol;

/// The result of a request, for its ack.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RequestResult {
    Ok,
    NotFound(&'static str),
    Failed(String),
}

/// Sends the result as an ack, if the app server waits for one.
pub(super) fn acknowledge(server: &ServerConnection, ack: Option<i32>, result: RequestResult) {
    let Some(ack) = ack else { return };
    let message = match &result {
        RequestResult::Ok => to_protocol::ack(ack, AckStatus::Ok, "", None),
        RequestResult::NotFound(why) => to_protocol::ack(ack, AckStatus::NotFound, why, None),
        RequestResult::Failed(why) => to_protocol::ack(ack, AckStatus::InternalServerError, why, None),
    };
    server.send_queue.push(&message);
}

/// Reports an invalid request: as an ack if the app server waits for one, otherwise as an event.
pub(super) fn report(server: &ServerConnection, invalid: &InvalidRequest) {
    let InvalidRequest { ack, object, id, kind, text } = invalid;
    debug!(server = %server.server_id, %id, %text, "a request of an app server is invalid");
    match ack {
        // An object with an invalid name does not exist.
        Some(ack) => server.send_queue.push(&to_protocol::ack(*ack, AckStatus::NotFound, text, None)),
        None => server.send_queue.push(&to_protocol::event(*object, id, *kind, text)),
    }
}
