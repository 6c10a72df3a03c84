//! [`Change`]: one part of a reload, prepared but not yet applied.

use std::future::Future;
use std::pin::Pin;

/// A checked change of options that cannot fail any more. A reload applies all changes, or none if one of them could not be
/// prepared.
pub(crate) struct Change(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Change {
    /// A change that `apply` makes.
    pub(crate) fn new(apply: impl FnOnce() + Send + 'static) -> Self {
        Self::from_future(async move { apply() })
    }

    /// A change that takes time.
    pub(crate) fn from_future(apply: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(apply))
    }

    /// Makes the change.
    pub(crate) async fn apply(self) {
        self.0.await;
    }
}
