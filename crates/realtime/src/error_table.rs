//! What each code of the realtime service means. The codes are those of Azure SignalR where its SDKs know them; the others have the
//! same spelling. One file for each section of `docs/errors/realtime.md`.

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
