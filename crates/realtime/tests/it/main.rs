//! Tests of `realtime` through its public interfaces, in one binary so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod cors;
mod events;
mod fixture;
mod history;
mod hostile;
mod in_process;
mod negotiate;
mod refresh;
mod requests;
mod rest;
mod servers;
mod service;
mod upstream;
mod webhook;
