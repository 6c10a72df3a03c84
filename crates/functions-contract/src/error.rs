//! Why a binding cannot be created or used.

/// Why a binding could not be created or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindingError {
    /// The app's declaration is wrong; only a change of the app helps. Contains what is wrong and what to do.
    #[error("{0}")]
    Declaration(String),
    /// The function returned a value that the system cannot accept. Contains what is wrong with it.
    #[error("{0}")]
    Value(String),
    /// What a trigger listens to does not exist yet; the trigger starts as soon as it does. Contains what is missing and
    /// what to do.
    #[error("{0}")]
    Absent(String),
    /// The lock of a delivery was lost: its items come again, here or elsewhere. Contains which lock, and what to check.
    #[error("{0}")]
    LockLost(String),
    /// The system behind the binding rejected the operation or failed.
    #[error("{what}")]
    System {
        /// What was attempted, and what to check.
        what: String,
        /// Whether a retry may help.
        retryable: bool,
        /// What the system reported.
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}
