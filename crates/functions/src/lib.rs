//! The functions host: discovers apps, supervises workers, dispatches triggers, applies bindings.
//!
//! An app is a folder that Azure Functions Core Tools would run. HTTP and timers are served here; every other trigger and
//! binding comes from a [`functions_contract::Connector`].
//!
//! Not its concern: sockets (the binary nests [`Service`] into its server), any outside system (connectors reach them), the
//! wire formats of workers (`worker-protocol` has them).
//!
//! Know these first: [`Service::start`], [`Handle`], [`functions_contract::Source`], [`worker::Pool`].
//! Know these first: [`start`], [`Handle`], [`functions_contract::Source`], [`worker::Pool`].
//! Start reading at `service.rs`; the way of one invocation is `invoke.rs`, that of an HTTP request `http.rs` (and
//! `http/proxy.rs`, where the worker takes it itself), that of a change feed `listen.rs`.

mod admin;
pub mod app;
mod closest_name;
mod connectors;
mod dependencies;
mod error;
mod expression;
mod from_protocol;
mod function;
mod function_info;
mod handle;
mod host;
mod host_version;
mod http;
mod invoke;
mod keys;
mod listen;
mod log;
mod metrics;
mod options;
mod retry;
mod route;
mod running_app;
mod schedule;
mod service;
mod setting_use;
mod shutdown;
mod startup;

mod time_span;
mod time_zone;
mod timer;
mod to_protocol;
mod triggers;
mod windows_zones;
pub mod worker;
mod workers;

pub use admin::Admin;
pub use closest_name::closest_name;
pub use dependencies::Dependencies;
pub use error::{Error, InvokeFunctionError};
pub use function_info::{FunctionInfo, FunctionState};
pub use handle::{Handle, Join};
pub use http::{ClientAddress, PublicOrigin};
pub use log::{Level, LogLine, Logs};
pub use options::Options;
pub use service::{Service, start};
pub use setting_use::SettingUse;
pub use workers::{StartWorkers, Workers};
