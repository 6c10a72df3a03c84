//! Upstreams of Serverless mode: invocations of clients become requests to webhooks, and the responses their completions, in the protocol of
//! Azure SignalR Service.
//!
//! Not its concern: sockets (`realtime-engine`), records of connections until their `disconnected` is delivered (`events`), function triggers.
//!
//! Know these first: [`Options`] (the templates), [`Methods`] (invocations that this process handles itself). The decisions are pure:
//! `template.rs` (the URL), `request.rs` (the request), `response.rs` (the completion), `connection_queues.rs` (the order). Start reading at
//! `dispatcher.rs`, then `scheduler.rs`.

mod claims;
mod clients;
mod connection_queues;
mod dispatcher;
mod file;
mod identity;
mod in_process;
mod input_queue;
mod load;
mod methods;
mod metrics;
mod options;
mod request;
mod response;
mod scheduler;
mod send;
mod shared;
mod streams;
mod template;
mod webhook;

pub use file::ParseFileError;
pub use identity::IdentityError;
pub use in_process::InProcessUpstream;
pub use load::LoadError;
pub use methods::{Methods, is_own};
pub use options::{Auth, Options, TemplateOptions};
pub use template::TemplateError;

pub(crate) use dispatcher::{Dependencies, Dispatcher, Join};
pub(crate) use load::load;
pub(crate) use metrics::Metrics;
#[cfg(feature = "fuzzing")]
pub(crate) use response::{Awaited, StreamReader, to_client};
pub(crate) use send::{KeySource, Sender};
