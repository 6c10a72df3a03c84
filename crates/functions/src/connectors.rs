//! Which connector serves a binding.

use std::sync::Arc;

use functions_contract::{Connector, Direction, PushExtension};

/// The extensions of the connectors whose events are pushed, each once.
pub(crate) fn push_extensions(connectors: &[Arc<dyn Connector>]) -> Vec<Arc<dyn PushExtension>> {
    let mut extensions: Vec<Arc<dyn PushExtension>> = Vec::new();
    for connector in connectors {
        for extension in connector.kinds().iter().filter_map(|(kind, _)| connector.push_extension(kind)) {
            if !extensions.iter().any(|known| known.name() == extension.name()) {
                extensions.push(extension);
            }
        }
    }
    extensions
}

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
