//! The error codes of the realtime service. A code that the SDKs of Azure SignalR use has their name; the others are spelled
//! alike. One file for each section of `docs/errors/realtime.md`.

mod absence;
mod clients;
mod rest;
mod servers;
mod tokens;

use http_messages::ErrorDescription;

pub(crate) use absence::*;
pub(crate) use clients::*;
pub(crate) use rest::*;
pub(crate) use servers::*;
pub(crate) use tokens::*;

/// The errors of the realtime service by section of `docs/errors/realtime.md`.
pub static ERRORS: &[(&str, &[&ErrorDescription])] = &[
    ("realtime-tokens", TOKENS),
    ("realtime-clients", CLIENTS),
    ("realtime-rest", REST),
    ("realtime-servers", SERVERS),
    ("realtime-absence", ABSENCE),
];
