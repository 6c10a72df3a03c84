//! [`FeedPage`]: a page of the feed until its result is known.

use functions_contract::{BindingError, KeyClaim, Settle, Settlement};

use crate::error_table;
use crate::lease_renewer::{CheckpointError, Checkpoints};

/// A page that was handed out. When it is settled or dropped, the next page of its part can be read.
pub(super) struct FeedPage {
    /// The token of the part's lease.
    pub(super) claim: KeyClaim,
    /// The position after the page.
    pub(super) continuation: String,
    pub(super) checkpoints: Checkpoints,
}

#[async_trait::async_trait]
impl Settle for FeedPage {
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), BindingError> {
        match settlement {
            Settlement::Complete => {}
            // The part is read again from its last checkpoint.
            Settlement::Abandon => return Ok(()),
            Settlement::DeadLetter { reason } => {
                tracing::warn!(
                    lease = self.claim.key(),
                    reason,
                    "a page of a change feed has no place for dead letters; it is completed"
                );
            }
        }
        self.checkpoints.store(self.claim.key(), &self.continuation).await.map_err(checkpoint_failed)
    }
}

pub(super) fn checkpoint_failed(error: CheckpointError) -> BindingError {
    match error {
        CheckpointError::Request(error) => error.into(),
        CheckpointError::Lost(lease) => BindingError::System {
            error: &error_table::LEASE_LOST,
            what: format!("another host acquired the lease {lease} and hands the batch out again"),
            retryable: true,
            cause: None,
        },
    }
}
