//! What a function is: how the worker loads it, and its bindings.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::{FunctionId, StatusResult};

/// One function of an app.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionMetadata {
    /// Its name.
    pub name: String,
    /// Its identity: kept from the worker when the worker indexed the app, drawn by the host otherwise.
    pub function_id: FunctionId,
    /// Its folder.
    pub directory: String,
    /// The file to load.
    pub script_file: String,
    /// What to call in that file.
    pub entry_point: String,
    /// Its language.
    pub language: String,
    /// Its bindings, each the text of a JSON object. This is the real configuration; what the wire calls `bindings`
    /// is made from it.
    pub raw_bindings: Vec<String>,
    /// Its retry policy.
    pub retry_options: Option<RetryOptions>,
    /// More, specific to the worker.
    pub properties: BTreeMap<String, String>,
    /// Whether the worker could index it. `None`, the usual case, means that it did not say.
    pub status: Option<StatusResult>,
}

/// When a failed invocation is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryOptions {
    /// How many times at most; -1 is for ever.
    pub max_retry_count: i32,
    /// Which strategy.
    pub retry_strategy: RetryStrategy,
    /// Delay of [`RetryStrategy::FixedDelay`]. In our frames, durations are milliseconds.
    #[serde(with = "option_ms", rename = "delayIntervalMs")]
    pub delay_interval: Option<Duration>,
    /// Shortest delay of [`RetryStrategy::ExponentialBackoff`].
    #[serde(with = "option_ms", rename = "minimumIntervalMs")]
    pub minimum_interval: Option<Duration>,
    /// Longest delay of it.
    #[serde(with = "option_ms", rename = "maximumIntervalMs")]
    pub maximum_interval: Option<Duration>,
}

/// How delays between retries grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetryStrategy {
    /// They double.
    #[default]
    ExponentialBackoff,
    /// They stay the same.
    FixedDelay,
}

/// What a worker learns of a binding beside its raw text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingInfo {
    /// Its type, such as `httpTrigger`.
    pub kind: String,
    /// Which way its data flows.
    pub direction: Direction,
    /// In which form.
    pub data_type: DataType,
}

/// Which way a binding's data flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the function.
    #[default]
    In,
    /// From the function.
    Out,
    /// Both.
    InOut,
}

/// The form that a function asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DataType {
    /// It does not say.
    #[default]
    Undefined,
    /// Text.
    String,
    /// Bytes.
    Binary,
    /// Bytes, as a stream.
    Stream,
}

impl BindingInfo {
    /// Reads a raw binding; gives its name too. `None` when the text is no JSON object or has no name.
    ///
    /// Neither names nor values of the properties depend on case: python's worker writes `"direction": "IN"`.
    pub fn parse(raw_binding: &str) -> Option<(String, Self)> {
        let properties: Map<String, Json> = serde_json::from_str(raw_binding).ok()?;
        let text = |name: &str| {
            let found = properties.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.and_then(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let direction = match text("direction").to_ascii_lowercase().as_str() {
            "out" => Direction::Out,
            "inout" => Direction::InOut,
            _ => Direction::In,
        };
        let data_type = match text("dataType").to_ascii_lowercase().as_str() {
            "string" => DataType::String,
            "binary" => DataType::Binary,
            "stream" => DataType::Stream,
            _ => DataType::Undefined,
        };
        let name = text("name");
        (!name.is_empty())
            .then(|| (name.to_owned(), Self { kind: text("type").to_owned(), direction, data_type }))
    }
}

mod option_ms {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
        match value {
            None => out.serialize_none(),
            Some(value) => out.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let ms = Option::<f64>::deserialize(from)?;
        Ok(ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok()))
    }
}
