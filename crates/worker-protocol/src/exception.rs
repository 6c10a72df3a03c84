//! Errors that a worker reports.

use serde::{Deserialize, Serialize};

/// An error of the worker or of the user's code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RpcException {
    /// Where it was raised, for example the assembly.
    pub source: String,
    /// The stack trace, one frame per line.
    pub stack_trace: String,
    /// Its message.
    pub message: String,
    /// Whether the user's code raised it.
    pub is_user_exception: bool,
    /// Name of its class.
    #[serde(rename = "type")]
    pub kind: String,
}
