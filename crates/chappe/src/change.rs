//! [`Change`]: one part of a reload, prepared and not yet applied.

use std::future::Future;
use std::pin::Pin;

/// A change of options that was checked and cannot fail any more. A reload applies all changes or, where one of them could not be
/// prepared, none.
pub(crate) struct Change(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Change {
    /// A change that `apply` makes.
    pub(crate) fn new(apply: impl FnOnce() + Send + 'static) -> Self {
        Self::awaited(async move { apply() })
    }

    /// A change that takes time.
    pub(crate) fn awaited(apply: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(apply))
    }

    /// Makes the change.
    pub(crate) async fn apply(self) {
        self.0.await;
    }
}
