//! What becomes of a delivery: its result, and the renewal of its lock.

use crate::error::BindingError;

/// The result of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Its items were processed and do not come again. Whether a failed invocation counts as processed is
    /// [`AfterFailure`].
    Complete,
    /// Its items were not processed (the worker exited, the host stops) and come again.
    Abandon,
    /// Its items cannot be processed. They go to where the system keeps such items (dead-letter queue, poison queue, error
    /// stream) and do not come again.
    DeadLetter {
        /// Why, for whoever looks there.
        reason: String,
    },
}

/// What becomes of a delivery if the function failed, also in its retries. The source decides it for each delivery, for example
/// by the delivery count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// It is completed: a failed function does not stop a change feed.
    Complete,
    /// It is abandoned: the system delivers it again, and counts.
    Abandon,
    /// It is dead-lettered with the error as its reason.
    DeadLetter,
}

/// Settles one delivery. It may outlive the borrow of the source, so that deliveries are settled in parallel with
/// [`Source::next`](crate::Source::next); the source itself is closed later.
#[async_trait::async_trait]
pub trait Settle: Send + Sync {
    /// Extends the lock of the delivery. [`BindingError::LockLost`] if it was lost; the host logs that and lets the invocation
    /// finish.
    async fn renew(&mut self) -> Result<(), BindingError> {
        Ok(())
    }

    /// Gives the delivery its result. If it fails, the items may come again; [`BindingError::LockLost`] says that only this
    /// delivery is concerned, any other error makes the host open the source again.
    async fn settle(self: Box<Self>, settlement: Settlement) -> Result<(), BindingError>;
}
