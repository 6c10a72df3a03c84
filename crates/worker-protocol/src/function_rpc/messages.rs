//! The messages, generated from `proto/FunctionRpc.proto` by `build.rs`.
//!
//! An enumeration is a number here, so that an unknown value does not make a message unreadable. Maps are sorted, so that the
//! same message always has the same bytes. Byte fields are slices of the frame they were read from.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated code; the definition and our own types of the same names have the explanations"
)]

pub use azure_functions_rpc_messages::*;

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
