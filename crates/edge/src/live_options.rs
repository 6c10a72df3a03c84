//! [`LiveOptions`]: the limits of a listener, which may be replaced while it serves.

use std::sync::{Arc, PoisonError, RwLock};

use crate::options::Options;

/// The options of a listener. Cheap to clone; all clones are the same options.
#[derive(Clone, Debug, Default)]
pub struct LiveOptions(Arc<RwLock<Arc<Options>>>);

impl LiveOptions {
    /// Replaces the options for connections that are accepted from now on; those that are open keep the options with which they were
    /// accepted.
    pub fn set(&self, options: Options) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    pub(crate) fn current(&self) -> Arc<Options> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
