//! The admin API: health, readiness, metrics, and the operations of the services, each mounted at `/chappe/api/<service>`.
//!
//! `/healthz` and `/readyz` respond to every caller. All other paths respond only to this machine (they show what runs here, and
//! can stop a worker), and to every caller of the admin port, if one is open.
//!
//! Start reading at `service.rs`; `access.rs` checks the caller.

mod access;
pub(crate) mod error_table;
mod service;

pub(crate) use access::OwnPort;
pub(crate) use service::{AdminState, Handle, Join, Mounted, Reload, start};
