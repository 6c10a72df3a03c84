//! Which service implements which contract of another one: how the whole product is connected.
//!
//! | contract | of | implemented by | in |
//! |---|---|---|---|
//! | `Connector` for `signalRConnectionInfo`, `signalR` | `functions-contract` | `connect-signalr`, over the next row or over the network | `signalr.rs` |
//! | `SignalRService` | `connect-signalr` | `realtime` | `signalr.rs` |
//! | `Connector` for `cosmosDBTrigger`, `cosmosDB` | `functions-contract` | `connect-cosmosdb`, over `documents` or over the network | `cosmos.rs` |
//! | whether a connection string names this process | | `Here` | `resolver.rs` |

mod cosmos;
mod resolver;
mod signalr;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use functions_contract::Connector;
use http_messages::Budget;

use crate::config::ServiceId;
use cosmos::cosmos_connector;
pub(crate) use resolver::{Here, Reachable};
use signalr::signalr_connector;

/// The services of this process that triggers and bindings reach without a socket.
#[derive(Default)]
pub(crate) struct Embedded {
    pub(crate) realtime: BTreeMap<ServiceId, realtime::Handle>,
    pub(crate) documents: BTreeMap<ServiceId, (documents::Service, documents::Handle)>,
}

/// Triggers and bindings by the services of this process, or over the network.
pub(crate) fn connectors(
    embedded: &Embedded,
    here: Here,
    (egress, bodies): (&egress::Client, &Budget),
    data_dir: &Path,
) -> Vec<Arc<dyn Connector>> {
    let here = Arc::new(here);
    let signalr = signalr_connector(Arc::clone(&here), embedded.realtime.clone(), egress.clone());
    // Survives restarts: a process that was killed finds its own leases again and need not wait.
    let owner = format!("chappe-{}", data_dir.display());
    let cosmos = cosmos_connector(here, &embedded.documents, egress.clone(), bodies, &owner);
    vec![Arc::new(signalr), Arc::new(cosmos)]
}
