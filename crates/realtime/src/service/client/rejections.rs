//! Rejections of clients that cannot connect.

use std::sync::PoisonError;

use crate::error_table;
use crate::rejection::Rejection;
use crate::service::Shared;
use realtime_engine::Hub;

pub(super) fn id_in_use() -> Rejection {
    let message = "a client has connected with this id already";
    Rejection::new(&error_table::CONNECTION_IN_USE, message)
}

/// The text is that of ASP.NET Core, which clients compare. docs/errors has a longer one.
pub(super) fn unknown_id() -> Rejection {
    Rejection::not_found("No Connection with that ID")
}

/// Rejects a request while the service drains.
pub(super) fn reject_while_stopping(shared: &Shared) -> Result<(), Rejection> {
    let is_stopping = shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner).is_none();
    if is_stopping { Err(Rejection::stopping()) } else { Ok(()) }
}

/// Rejects a client while the service drains, or if the connection limit of the service or the hub is reached.
pub(super) fn reject_beyond_limits(shared: &Shared, hub: &Hub) -> Result<(), Rejection> {
    reject_while_stopping(shared)?;
    let full = |message: String| Rejection::new(&error_table::TOO_MANY_CONNECTIONS, message);
    if shared.engine.is_full() {
        return Err(full("the service is at its connection limit; try again later".to_owned()));
    }
    if let Some(limit) = shared.engine.hub_is_full(hub) {
        return Err(full(format!("hub {hub} is at its limit of {limit} connections; try again later")));
    }
    Ok(())
}

pub(super) fn other_transport() -> Rejection {
    let message = "the connection uses another transport; a connection cannot change its transport";
    Rejection::new(&error_table::WRONG_TRANSPORT, message)
}
