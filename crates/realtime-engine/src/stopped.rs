//! [`Stopped`]: the error of every request to an engine that has ended.

/// The engine has ended.
#[derive(Debug, thiserror::Error)]
#[error("the engine has been shut down")]
pub struct Stopped;
