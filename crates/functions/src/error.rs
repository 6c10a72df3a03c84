//! Errors of the start of the host, and of calls of its [`Handle`](crate::Handle).

use http_messages::ErrorDescription;

use crate::app::LoadAppError;
use crate::error_table::{app, invocation, response};
use crate::worker::StartError;

/// Why the host did not start, or why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The app cannot be loaded.
    #[error(transparent)]
    App(#[from] LoadAppError),
    /// The app's workers cannot be started.
    #[error(transparent)]
    Worker(#[from] StartError),
    /// A setting has an invalid value. Contains what is wrong and what to do.
    #[error("{0}")]
    Setting(String),
    /// The app did not start. Contains the reason from the worker or the host.
    #[error("{0}")]
    NotStarted(String),
    /// The keys cannot be read. Contains the reason from the registry.
    #[error("cannot read the keys of the app: {0}")]
    Keys(String),
}

/// Why a function was not run, or why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeFunctionError {
    /// There is no such function.
    #[error("there is no function '{name}'")]
    Unknown {
        /// The name in the call.
        name: String,
    },
    /// The function cannot run: it is in error or its app has not started.
    #[error("{0}")]
    Unavailable(String),
    /// It ran and failed. Contains its message.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::App(error) => error.description(),
            Self::Worker(error) => error.description(),
            Self::Setting(_) => &app::INVALID_SETTING,
            Self::NotStarted(_) => &response::NOT_RUNNING,
            Self::Keys(_) => &response::KEYS_UNAVAILABLE,
        }
    }
}

impl InvokeFunctionError {
    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Unknown { .. } => &response::NOT_FOUND,
            Self::Unavailable(_) => &response::NOT_RUNNING,
            Self::Failed(_) => &invocation::EXCEPTION,
        }
    }
}
