//! The functions host: discovers apps, supervises workers, dispatches triggers, applies bindings.
//!
//! An app is a folder that Azure Functions Core Tools would run. HTTP and timers are served here; every other trigger and
//! binding comes from a [`functions_contract::Connector`].
//!
//! Not its concern: sockets (the binary nests [`Service`] into its server), any outside system (connectors reach them), the
//! wire formats of workers (`worker-protocol` has them).
//!
//! Know these first: [`start`], [`Handle`], [`functions_contract::Source`], [`worker::Pool`].
//! Start reading at `service.rs`; then `host.rs` (generations of the app), `startup.rs` (the start of one), `invoke.rs` (one invocation), `http.rs` (an HTTP
//! request; `http/proxy.rs` if the worker receives it itself), `triggers.rs`, `timer.rs` and `listen.rs` (the other triggers).

mod admin;
pub mod app;
mod app_watcher;
mod closest_name;
mod connectors;
mod cors_options;
mod current;
mod dependencies;
mod dynamic_concurrency;
mod error;
mod error_table;
mod expression;
mod failures;
mod from_protocol;
mod function;
mod function_error;
mod function_info;
mod generation;
mod generations;
mod handle;
mod host;
mod host_triggers;
mod host_version;
mod http;
mod index_cache;
mod invoke;
mod keys;
mod listen;
mod log;
mod metrics;
mod options;
mod push;
mod push_binding;
mod reload_error;
mod restart_reason;
mod retire;
mod retry;
mod route;
mod schedule;
mod service;
mod setting_use;
mod shutdown;
mod starter;
mod startup;
mod takeover;
mod time_span;
mod time_zone;
mod timer;
mod to_protocol;
mod triggers;
mod usage;
mod windows_zones;
pub mod worker;
mod workers;

pub use admin::{ADMIN_ERRORS, Admin};
pub use closest_name::closest_name;
pub use dependencies::Dependencies;
pub use error::{Error, InvokeFunctionError};
pub use error_table::ERRORS;
pub use function_info::{FunctionInfo, FunctionState};
pub use handle::{Handle, Join};
pub use http::{ClientAddress, PublicOrigin};
pub use log::{Level, LogLine, Logs};
pub use options::Options;
pub use service::{Service, start};
pub use setting_use::SettingUse;
pub use workers::{StartWorkers, Workers};
