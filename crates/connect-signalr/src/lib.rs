//! `signalRTrigger`, and the bindings `signalRConnectionInfo`, `signalRNegotiation`, `signalREndpoints` (inputs) and `signalR` (output)
//! of functions.
//!
//! A binding's connection string decides which service it uses: the one in this process, called through the trait
//! [`SignalRService`], or another one over the network, called through the REST data plane (version 1, as the management
//! SDK does). The binary passes an [`InProcess`] resolver that knows which connection strings name this process.
//!
//! The trigger takes requests in the upstream protocol, over HTTP or from the service of this process; see `trigger.rs`.
//!
//! Not its concern: hubs and connections (`realtime`), running functions (`functions`).
//!
//! Know these first: [`SignalR`], [`SignalRService`]. Start reading at `connector.rs`.

mod binding;
mod connection;
mod connector;
mod endpoint_settings;
mod endpoints;
mod error_table;
mod options;
mod output;
mod remote;
mod service;
mod trigger;

pub use connector::SignalR;
pub use error_table::ERRORS;
pub use options::{Options, OptionsError};
pub use output::{GroupAction, GroupMember, Recipient, SignalRGroupAction, SignalRMessage};
pub use service::{InProcess, NegotiationInfo, SignalRService, in_process_failure};
pub use trigger::{InProcessCaller, trigger_address};
