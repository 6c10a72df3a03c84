//! [`Stopped`]: the error of every request to an engine that has ended.

/// The engine has ended, so there is nothing left to ask.
#[derive(Debug, thiserror::Error)]
#[error("the engine has been shut down")]
pub struct Stopped;
