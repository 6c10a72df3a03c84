//! `cosmosDBTrigger` and the `cosmosDB` bindings, as a client of the Cosmos DB REST protocol.
//!
//! Requests to every account go through an [`AccountTransport`]: either the documents service of this process (a function
//! call, authorized by a principal) or an HTTP client to another host (signed with the account key). Lease documents,
//! paging and conditions are the same in both cases, so that an app behaves the same when a setting's value moves it from
//! one to the other. The binary passes an [`AccountResolver`] that chooses the transport for a connection string.
//!
//! Not its concern: storing documents, running functions, deciding what is embedded.
//!
//! Know these first: [`CosmosDb`], [`AccountTransport`], [`Options`]. Start reading at `connector.rs`; the trigger is
//! `source.rs`, its leases are `lease_renewer.rs`.

mod binding;
mod client;
mod connector;
mod decide;
mod deferred;
mod error;
mod error_table;
mod lease;
mod lease_renewer;
mod lease_store;
mod live_sources;
mod options;
mod partition_key;
mod query;
mod shared;
mod source;
mod transport;
mod trigger_options;
mod trigger_registry;

pub use connector::CosmosDb;
pub use error_table::ERRORS;
pub use options::{Options, OptionsError};
pub use transport::{AccountResolver, AccountTransport, ChangeHints, ChangeOrigin, ChangeOrigins};
