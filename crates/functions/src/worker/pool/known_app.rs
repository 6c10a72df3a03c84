//! [`KnownApp`]: an app that need not be indexed again.

use worker_protocol::Capabilities;

use crate::worker::instance::Indexing;

/// What an earlier worker reported about the same app.
#[derive(Clone, Debug)]
pub struct KnownApp {
    /// The functions of the app.
    pub indexing: Indexing,
    /// The capabilities of the workers.
    pub capabilities: Capabilities,
}
