//! Who implements what for whom: the whole product's plumbing.
//!
//! | contract | of | implemented by | in |
//! |---|---|---|---|
//! | `Connector` for `signalRConnectionInfo`, `signalR` | `functions` | `realtime`, or a service over the network | `signalr.rs` |
//! | `Connector` for `cosmosDBTrigger`, `cosmosDB` | `functions` | `connect-cosmosdb` over `documents`, or over the network | `cosmos.rs` |
//! | which of the two a setting means | | `Here` | `resolver.rs` |

mod cosmos;
mod resolver;
mod signalr;
mod signalr_remote;

pub(crate) use cosmos::cosmos_connector;
pub(crate) use resolver::Here;
pub(crate) use signalr::SignalR;
