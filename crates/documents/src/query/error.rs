//! [`SqlError`]: why a query is rejected.

use crate::error::RequestFailure;

/// Why a query is rejected. The fields are those of the error body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SqlError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Character offsets in the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl From<SqlError> for RequestFailure {
    fn from(error: SqlError) -> Self {
        let shape = serde_json::json!({"errors": [{
            "severity": "Error",
            "location": {"start": error.start, "end": error.end},
            "code": error.code,
            "message": error.message,
        }]});
        Self { errors_json: Some(shape.to_string()), ..Self::bad_request(error.message) }
    }
}
