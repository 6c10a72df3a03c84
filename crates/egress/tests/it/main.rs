//! The features of `egress`, tested against servers in the same process.

mod exchange;
mod harness;
mod policy;
mod proxy;
mod tls;
