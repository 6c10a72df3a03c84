//! The contracts between the functions host and the systems that trigger functions and that functions read and write:
//! [`Source`] and [`PushTrigger`] (triggers), [`Reader`] (input binding) and [`Sink`] (output binding), created by a [`Connector`].
//!
//! A crate that connects a database, a queue or a hub depends on this crate and not on the host. The host knows no outside
//! system. Each contract states numbered guarantees; the suites in `suite` (feature `suite`) check them, and every
//! implementation runs them in its own tests.
//!
//! Not its concern: apps, workers, retries, expressions (`functions`), and what a system is called or how it is reached
//! (`connect-*`).
//!
//! Know these first: [`Connector`], [`BindingSpec`], [`Source`], [`Value`].

mod binding;
mod connector;
mod error;
mod error_table;
mod keys_in_flight;
mod push;
mod query;
mod reader;
mod settings;
mod settle;
mod sink;
mod source;
#[cfg(feature = "suite")]
pub mod suite;
mod value;

pub use binding::{BindingContext, BindingSpec, Direction, find_property};
pub use connector::{ConnectionSetting, Connector};
pub use error::BindingError;
pub use error_table::ERRORS;
pub use keys_in_flight::{KeyClaim, KeysInFlight};
pub use push::{PushError, PushEvent, PushExtension, PushFunction, PushRequest, PushResponse, PushTrigger};
pub use query::{query_pairs, query_parameter};
pub use reader::Reader;
pub use settings::AppSettings;
pub use settle::{AfterFailure, Settle, Settlement};
pub use sink::Sink;
pub use source::{Batch, ItemOrigin, Source, SourceBacklog, SourceDelivery};
pub use value::{DeferredValue, Value};
