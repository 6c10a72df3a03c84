//! Why a request failed, and how that is reported to the host.

use std::time::Duration;

use functions_contract::BindingError;
use http::StatusCode;
use http_messages::{BoxError, ErrorDescription};

use crate::error_table;

/// Why a request had no usable response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// There was no response.
    #[error(
        "the account at {endpoint} did not respond; check the connection string, and that the service runs"
    )]
    Unreachable {
        endpoint: String,
        #[source]
        cause: BoxError,
    },
    /// The response took longer than `request_timeout_ms`.
    #[error(
        "{what} had no complete response within {} ms (connect.cosmosdb.request_timeout_ms); check that the account can be reached, \
         or raise the limit",
        after.as_millis()
    )]
    TimedOut { what: String, after: Duration },
    /// The connection broke during the response, or it is larger than `response_bytes_max`.
    #[error(
        "the response to {what} could not be read; retry, or raise egress.response_bytes_max if it is too large"
    )]
    Unreadable {
        what: String,
        #[source]
        cause: BoxError,
    },
    /// The account rejected the request.
    #[error("{what} returned {status} (sub-status {substatus}): {message}")]
    Rejected { what: String, status: StatusCode, substatus: u32, message: String },
    /// The response violates the protocol.
    #[error(
        "the response to {what} violates the Cosmos DB protocol: {why}; check that the connection string names a Cosmos DB account"
    )]
    Malformed { what: String, why: String },
}

impl RequestError {
    fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => &error_table::UNREACHABLE,
            Self::Unreadable { .. } => &error_table::UNREADABLE,
            Self::Rejected { .. } => &error_table::REJECTED,
            Self::Malformed { .. } => &error_table::PROTOCOL_VIOLATED,
        }
    }

    /// Whether another attempt may succeed without a change of the app or the account.
    fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Unreadable { .. } => true,
            Self::Malformed { .. } => false,
            // A missing container may be created at any time; a wrong key or an invalid document stays wrong.
            Self::Rejected { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 404 | 408 | 410 | 412 | 429 | 449)
            }
        }
    }
}

impl From<RequestError> for BindingError {
    fn from(error: RequestError) -> Self {
        let (retryable, description) = (error.retryable(), error.description());
        let what = error.to_string();
        let cause = match error {
            RequestError::Unreachable { cause, .. } | RequestError::Unreadable { cause, .. } => Some(cause),
            RequestError::TimedOut { .. }
            | RequestError::Rejected { .. }
            | RequestError::Malformed { .. } => None,
        };
        Self::System { error: description, what, retryable, cause }
    }
}
