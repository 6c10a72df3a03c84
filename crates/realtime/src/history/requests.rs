//! Requests to the recorder: append a message, open a log.

use std::sync::Arc;

use state::{Instance, Journal, JournalReadError, Name, RegistryError};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::options::Rule;
use super::streams::InUse;
use realtime_engine::{EngineHandle, Publish, PublishError};

/// Header of a record: when the message was appended, in milliseconds since the Unix epoch.
pub(super) const AT: &str = "at-ms";

/// What the history depends on.
pub(crate) struct Dependencies {
    pub(crate) rules: Arc<[Rule]>,
    /// Most logs of groups at a time.
    pub(crate) groups_max: usize,
    pub(crate) instance: Instance,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) registry: Arc<dyn state::Registry>,
    pub(crate) engine: EngineHandle,
}

/// A message to append and then to publish.
#[derive(Debug)]
pub(super) struct AppendRequest {
    pub(super) publish: Publish,
    /// Index of the rule that applies.
    pub(super) rule: usize,
    /// Receives the result, if the publisher waits.
    pub(super) done: Option<oneshot::Sender<Result<(), PublishError>>>,
    /// Its share of the bytes that may be queued.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// A request to open a log for a client that follows it.
#[derive(Debug)]
pub(super) struct OpenRequest {
    pub(super) name: Name,
    /// Index of the rule that applies.
    pub(super) rule: usize,
    pub(super) reply: oneshot::Sender<Result<InUse, OpenError>>,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The limit on logs of groups is reached, and each of them has messages.
    #[error("too many groups store messages; raise realtime.history_groups_max")]
    Full,
    /// The log could not be added to the list.
    #[error("cannot add the log to the list of logs")]
    Registry(#[from] RegistryError),
    /// The journal could not be created.
    #[error("cannot create the log")]
    Journal(#[from] JournalReadError),
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Stopped,
}
