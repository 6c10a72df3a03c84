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

pub(crate) use cosmos::cosmos_connector;
pub(crate) use resolver::Here;
pub(crate) use signalr::signalr_connector;
