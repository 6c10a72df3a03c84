//! Descriptions of the errors of commands and of the process, by section of `docs/errors/start.md`. The crates of the services
//! describe their own errors.

pub(crate) mod configuration;
pub(crate) mod data;
pub(crate) mod process;
