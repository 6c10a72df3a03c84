//! [`PushBinding`]: the trigger of a function whose events are pushed.

use std::sync::Arc;

use functions_contract::{PushExtension, PushTrigger};

/// The trigger of a function with pushed events.
#[derive(Clone)]
pub(crate) struct PushBinding {
    pub(crate) extension: Arc<dyn PushExtension>,
    pub(crate) trigger: Arc<dyn PushTrigger>,
}
