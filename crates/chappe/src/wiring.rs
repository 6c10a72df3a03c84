//! Connects triggers and bindings with the services that they name: one list of connectors, one row each.
//!
//! | contract | of | implemented by | in |
//! |---|---|---|---|
//! | `Connector` for `signalRTrigger`, `signalRConnectionInfo`, `signalR` | `functions-contract` | `connect-signalr`, over the next row or over the network | `signalr.rs` |
//! | `SignalRService` | `connect-signalr` | `realtime` | `signalr.rs` |
//! | `InProcessUpstream` | `realtime` | `functions` with the triggers of `connect-signalr` | `signalr.rs` |
//! | `Connector` for `cosmosDBTrigger`, `cosmosDB` | `functions-contract` | `connect-cosmosdb`, over `documents` or over the network | `cosmosdb.rs` |
//! | `Connector` for `eventGridTrigger` | `functions-contract` | `connect-eventgrid` | `eventgrid.rs` |
//! | `Connector` for `redisPubSubTrigger`, `redisListTrigger`, `redisStreamTrigger`, `redis` | `functions-contract` | `connect-redis`, over the network | `redis.rs` |
//! | whether a connection string names this process | | `LocalServices` | `resolver.rs` |
//!
//! To add a connector: a crate with `Options` and an implementation of `Connector`, a file here with its row, and the row's name in
//! [`CONNECTORS`]. Its section `[connect.<name>]`, the JSON Schema and `docs/configuration.md` follow from the row
//! (`cargo xtask reference`).

mod cosmosdb;
mod eventgrid;
mod redis;
mod resolver;
mod row;
mod signalr;

use std::path::Path;
use std::sync::Arc;

use functions_contract::Connector;
use http_messages::Budget;

use crate::config::{ConfiguredConnector, ConnectorSection};
pub(crate) use resolver::{LocalServices, Reachable};
pub(crate) use row::Embedded;
use row::{ConnectorRow, Creating};
pub(crate) use signalr::connect_triggers;

/// The connectors of this process.
static CONNECTORS: &[&ConnectorRow] = &[&cosmosdb::ROW, &eventgrid::ROW, &redis::ROW, &signalr::ROW];

/// The sections of the connectors in `chappe.toml`.
pub(crate) fn sections() -> Vec<&'static ConnectorSection> {
    CONNECTORS.iter().map(|row| &row.section).collect()
}

/// The connectors of one functions host.
pub(crate) fn connectors(
    configured: &[ConfiguredConnector],
    embedded: &Embedded,
    local_services: LocalServices,
    (egress, bodies): (&egress::Client, &Budget),
    data_dir: &Path,
) -> Vec<Arc<dyn Connector>> {
    let local_services = Arc::new(local_services);
    let create = |connector: &ConfiguredConnector| {
        let row = CONNECTORS.iter().find(|row| row.section.name == connector.section.name);
        let row = row.expect("a configured connector has a row, because its section comes from the table");
        let (options, local_services) = (&*connector.options, Arc::clone(&local_services));
        (row.create)(Creating { options, local_services, embedded, egress, bodies, data_dir })
    };
    configured.iter().map(create).collect()
}
