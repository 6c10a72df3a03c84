//! The serverless upstream: what clients call becomes a request to a webhook, and its answer their completion, in the protocol of
//! Azure SignalR Service.
//!
//! Not its concern: sockets (`engine`), what is kept of connections until their end was told (`events`), function triggers.
//!
//! Know these first: [`Options`] (the rules), [`Methods`] (calls that this process answers). What is decided is pure:
//! `template.rs` (where to), `request.rs` (what is said), `answer.rs` (what comes of the answer), `lanes.rs` (in which order).
//! Start reading at `dispatcher.rs`, then `owner.rs`.

mod answer;
mod claims;
mod dispatcher;
mod file;
mod identity;
mod inbox;
mod lanes;
mod load;
mod methods;
mod metrics;
mod options;
mod owner;
mod request;
mod send;
mod streams;
mod template;
mod webhook;

pub use file::ParseFileError;
pub use identity::IdentityError;
pub use load::LoadError;
pub use methods::{Methods, is_own};
pub use options::{Auth, Options, TemplateOptions};
pub use template::TemplateError;

#[cfg(feature = "fuzzing")]
pub(crate) use answer::{Awaited, StreamReader, to_client};
pub(crate) use dispatcher::{Dispatcher, Parts, Running};
pub(crate) use load::load;
pub(crate) use metrics::Metrics;
pub(crate) use send::{KeySource, Sender};
