//! `cosmosDBTrigger` and the `cosmosDB` bindings, as a client of the Cosmos DB REST dialect.
//!
//! One road for every account: requests go through a [`Transport`], which is either the documents service of this process
//! (a function call, vouched for by a principal) or an HTTP client to another host (signed with the account key). Lease
//! documents, paging and conditions are the same in both cases, so that an app behaves the same when a setting's value
//! moves it from one to the other. Which one a connection string means is decided by the [`Resolver`] of whoever
//! assembles the process.
//!
//! Not its concern: storing documents, running functions, deciding what is embedded.
//!
//! Know these first: [`CosmosDb`], [`Transport`], [`Options`]. Start reading at `source.rs`.

mod binding;
mod client;
mod connector;
mod decide;
mod error;
mod keeper;
mod lease;
mod options;
mod partition_key;
mod query;
mod source;
mod transport;
mod trigger;
mod watched;

pub use connector::CosmosDb;
pub use options::Options;
pub use transport::{Hints, Origin, Origins, Resolver, Transport};
