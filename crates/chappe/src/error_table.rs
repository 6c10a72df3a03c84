//! What the errors of commands and of the process mean, by the page sections of `docs/errors/start.md`. Errors of the services have
//! their descriptions in their crates.

pub(crate) mod configuration;
pub(crate) mod data;
pub(crate) mod process;
