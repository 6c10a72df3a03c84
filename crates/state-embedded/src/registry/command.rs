//! [`RegistryCommand`]: what callers ask the writer to do, and how each of them gets its result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use state::{Durability, Expect, Grant, Instance, LeaseError, Name, RegistryError, Version};
use tokio::sync::oneshot;

use super::session::InstanceKey;

/// The channel on which a caller waits for its result.
pub(super) type ReplySender<T, E> = oneshot::Sender<Result<T, E>>;

/// A request of a caller.
pub(crate) enum RegistryCommand {
    Put { key: InstanceKey, write: KeyWrite, reply: ReplySender<Version, RegistryError> },
    Delete { key: InstanceKey, expect: Expect, reply: ReplySender<bool, RegistryError> },
    Acquire { lease: (Instance, Name), owner: String, ttl: Duration, reply: ReplySender<Grant, LeaseError> },
    Renew { instance: Instance, grant: Grant, ttl: Duration, reply: ReplySender<Grant, LeaseError> },
    Release { instance: Instance, grant: Grant, reply: ReplySender<(), LeaseError> },
}

/// The arguments of [`state::Registry::put`].
pub(crate) struct KeyWrite {
    pub(super) value: Bytes,
    pub(super) expect: Expect,
    pub(super) durability: Durability,
    pub(super) ttl: Option<Duration>,
}

/// The result of a command; sent to the caller once the batch is durable.
pub(super) enum RegistryOutcome {
    Put(ReplySender<Version, RegistryError>, Result<Version, RegistryError>),
    Delete(ReplySender<bool, RegistryError>, Result<bool, RegistryError>),
    Grant(ReplySender<Grant, LeaseError>, Result<Grant, LeaseError>),
    Release(ReplySender<(), LeaseError>),
}

/// Why a batch was not committed; shared by all of its callers.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct BatchFailed(pub(super) Arc<dyn std::error::Error + Send + Sync>);

impl RegistryCommand {
    /// For a command that was not executed because its batch had failed before. The result is a placeholder: after a
    /// failed batch, [`RegistryOutcome::send`] sends the failure.
    pub(super) fn not_executed(self) -> RegistryOutcome {
        match self {
            Self::Put { reply, .. } => RegistryOutcome::Put(reply, Ok(Version(0))),
            Self::Delete { reply, .. } => RegistryOutcome::Delete(reply, Ok(false)),
            Self::Acquire { lease: (_, name), reply, .. } => {
                RegistryOutcome::Grant(reply, Err(LeaseError::Lost { name }))
            }
            Self::Renew { grant, reply, .. } => {
                RegistryOutcome::Grant(reply, Err(LeaseError::Lost { name: grant.name }))
            }
            Self::Release { reply, .. } => RegistryOutcome::Release(reply),
        }
    }
}

impl RegistryOutcome {
    /// Sends the caller its result, or the failure of the batch. The caller may no longer wait for it.
    pub(super) fn send(self, failed: Option<&BatchFailed>) {
        let registry = |failed: &BatchFailed| RegistryError::Backend(Box::new(failed.clone()));
        let lease = |failed: &BatchFailed| LeaseError::Backend(Box::new(failed.clone()));
        match self {
            Self::Put(reply, result) => drop(reply.send(failed.map_or(result, |f| Err(registry(f))))),
            Self::Delete(reply, result) => drop(reply.send(failed.map_or(result, |f| Err(registry(f))))),
            Self::Grant(reply, result) => drop(reply.send(failed.map_or(result, |f| Err(lease(f))))),
            Self::Release(reply) => drop(reply.send(failed.map_or(Ok(()), |f| Err(lease(f))))),
        }
    }
}
