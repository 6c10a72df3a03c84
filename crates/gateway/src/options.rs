//! The gateway's configuration, as it is written.

use serde::{Deserialize, Serialize};

use crate::Route;

/// What the gateway does. Unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The routes. The longest matching path wins, whatever their order. Default: none. Since 0.1.0.
    pub routes: Vec<Route>,
}
