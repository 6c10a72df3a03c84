//! [`Options`]: what an operator sets for all functions of the host.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

/// Options of the connector.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The most invocations at a time for the events of one delivery; further ones wait. Lower it if a function should not be invoked by
    /// all events of a large batch at once. Default: 128. Since 0.1.0.
    pub delivery_invocations_max: NonZeroUsize,
}

impl Default for Options {
    fn default() -> Self {
        Self { delivery_invocations_max: NonZeroUsize::new(128).expect("not zero") }
    }
}
