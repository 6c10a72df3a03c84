//! Why a request of the dialect failed, and how the host hears of it.

use functions_contract::BindingError;
use http::StatusCode;
use http_messages::BoxError;

/// Why a request had no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// Nobody answered.
    #[error(
        "the account at {endpoint} did not answer; check the connection string and that the service runs"
    )]
    Unreachable {
        endpoint: String,
        #[source]
        cause: BoxError,
    },
    /// The answer broke off or is larger than `response_bytes_max`.
    #[error("the answer to {what} could not be read")]
    Unreadable {
        what: String,
        #[source]
        cause: BoxError,
    },
    /// The account refused.
    #[error("{what} was answered with {status} (sub-status {substatus}): {message}")]
    Refused { what: String, status: StatusCode, substatus: u32, message: String },
    /// The answer is not of the dialect.
    #[error("the answer to {what} is not what the Cosmos DB dialect prescribes: {why}")]
    Malformed { what: String, why: String },
}

impl RequestError {
    /// Whether another attempt may help without a change of anything.
    fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unreadable { .. } => true,
            Self::Malformed { .. } => false,
            // A missing container may be created any time; a wrong key or a bad document stays wrong.
            Self::Refused { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 404 | 408 | 410 | 412 | 429 | 449)
            }
        }
    }
}

impl From<RequestError> for BindingError {
    fn from(error: RequestError) -> Self {
        let retryable = error.retryable();
        let what = error.to_string();
        let cause = match error {
            RequestError::Unreachable { cause, .. } | RequestError::Unreadable { cause, .. } => Some(cause),
            RequestError::Refused { .. } | RequestError::Malformed { .. } => None,
        };
        Self::System { what, retryable, cause }
    }
}
