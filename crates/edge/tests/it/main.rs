//! The features of `edge`, tried over loopback.

mod drain;
mod harness;
mod http;
mod upgrade;
