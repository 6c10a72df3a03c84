//! `redisListTrigger`, `redisStreamTrigger`, `redisPubSubTrigger` and the `redis` bindings, as in the Azure Functions extension for
//! Redis.
//!
//! Lists and streams are delivered at least once: an entry that was not settled comes again, also after `kill -9` of the host. An
//! entry of a list stands in a hash of its owner until it is settled (module `pending`); an entry of a stream is pending in the
//! consumer group. Channels store nothing: what is published while nobody listens is lost.
//!
//! Not its concern: running functions, and Redis Cluster (a node that redirects is reported).
//!
//! Know these first: [`Redis`], [`Options`]. Start reading at `connector.rs`; each trigger is a file in `source/`.

mod binding;
mod client;
mod connection_string;
mod connector;
mod error;
mod error_table;
mod fields;
mod options;
mod owner;
mod pending;
mod scripts;
mod source;
mod trigger_options;
mod value;

pub use connector::Redis;
pub use error_table::ERRORS;
pub use options::Options;
