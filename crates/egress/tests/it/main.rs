//! The features of `egress`, tried against servers in the same process.

mod exchange;
mod harness;
mod policy;
mod proxy;
mod tls;
