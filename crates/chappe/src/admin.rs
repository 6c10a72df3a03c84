//! The process about itself: health, readiness, metrics, and the operations of its services, each mounted at
//! `/chappe/api/<service>`.
//!
//! `/healthz` and `/readyz` answer anybody. Everything else answers only this machine (it tells what runs here, and can end
//! a worker), or every caller of the admin port, if one is open.
//!
//! Start reading at `service.rs`; `access.rs` says who may ask.

mod access;
pub(crate) mod error_table;
mod service;

pub(crate) use access::OwnPort;
pub(crate) use service::{Facts, Handle, Join, Mounted, Reload, start};
