//! Log records of a worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{InvocationId, RpcException, TypedData};

/// Level of a log record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogLevel {
    /// Most detailed.
    #[default]
    Trace,
    /// For developers.
    Debug,
    /// Normal.
    Information,
    /// Unusual.
    Warning,
    /// An operation failed.
    Error,
    /// The application cannot go on.
    Critical,
    /// Off; used in filters.
    None,
}

/// Who wrote a log record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogCategory {
    /// The function's author.
    #[default]
    User,
    /// The worker itself.
    System,
    /// A metric: `Name` and `Value` are in the properties.
    CustomMetric,
}

/// One log record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RpcLog {
    /// The invocation it belongs to.
    pub invocation_id: Option<InvocationId>,
    /// Its category, such as `Function.hello.User` or a module's name.
    pub category: String,
    /// Its level.
    pub level: LogLevel,
    /// Its message.
    pub message: String,
    /// Id of the event.
    pub event_id: String,
    /// The error that it reports.
    pub exception: Option<RpcException>,
    /// Properties as JSON.
    pub properties: String,
    /// Who wrote it.
    pub log_category: LogCategory,
    /// Typed properties.
    pub properties_map: BTreeMap<String, TypedData>,
}
