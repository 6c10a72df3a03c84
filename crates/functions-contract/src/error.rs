//! Why a binding cannot be created or used.

use http_messages::ErrorDescription;

use crate::error_table;

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
        /// The meaning of the error, from the table of the connector.
        error: &'static ErrorDescription,
        /// What was attempted, and what to check.
        what: String,
        /// Whether a retry may help.
        retryable: bool,
        /// What the system reported.
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl BindingError {
    /// Its code, and what to do.
    #[must_use]
    pub fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Declaration(_) => &error_table::DECLARATION,
            Self::Value(_) => &error_table::VALUE,
            Self::Absent(_) => &error_table::ABSENT,
            Self::LockLost(_) => &error_table::LOCK_LOST,
            Self::System { error, .. } => error,
        }
    }
}
