//! Which connector serves a binding.

use std::sync::Arc;

use functions_contract::{Connector, Direction};

/// The connector that serves a binding type.
pub(crate) fn find_connector<'a>(
    connectors: &'a [Arc<dyn Connector>],
    kind: &str,
    direction: Direction,
) -> Option<&'a Arc<dyn Connector>> {
    connectors.iter().find(|connector| {
        connector
            .kinds()
            .iter()
            .any(|(known, served)| known.eq_ignore_ascii_case(kind) && *served == direction)
    })
}
