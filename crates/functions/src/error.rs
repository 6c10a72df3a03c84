//! Why the host cannot start or do what its [`Handle`](crate::Handle) was asked.

use crate::app::LoadAppError;
use crate::worker::StartError;

/// Why the host did not start, or what became of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The app's files cannot be used.
    #[error(transparent)]
    App(#[from] LoadAppError),
    /// The app's workers cannot be started.
    #[error(transparent)]
    Worker(#[from] StartError),
    /// A setting has a value that cannot be used. Holds what is wrong and what to do.
    #[error("{0}")]
    Setting(String),
    /// The app did not start; the text is what the worker or the host said.
    #[error("{0}")]
    NotStarted(String),
    /// The keys cannot be read; the text is what the registry said.
    #[error("cannot read the keys of the app: {0}")]
    Keys(String),
}

/// Why a function was not run, or how it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvokeFunctionError {
    /// There is no such function.
    #[error("there is no function '{name}'")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The function cannot run: it is in error or its app has not started.
    #[error("{0}")]
    Unavailable(String),
    /// It ran and failed; its message.
    #[error("{0}")]
    Failed(String),
}
