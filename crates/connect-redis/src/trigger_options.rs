//! The properties of the triggers.

use std::time::Duration;

use functions_contract::{BindingError, BindingSpec};
use serde_json::Value as Json;

use crate::options::Options;

/// The end of a list from which entries are popped: `listDirection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListDirection {
    Left,
    Right,
}

/// What list and stream triggers have in common.
#[derive(Clone, Debug)]
pub(crate) struct PollingOptions {
    pub(crate) function: String,
    pub(crate) key: String,
    pub(crate) polling_interval: Duration,
    pub(crate) batch_size_max: usize,
    /// Whether an invocation gets several entries (`cardinality` many).
    pub(crate) is_batched: bool,
    pub(crate) lock: Duration,
}

impl PollingOptions {
    pub(crate) fn parse(spec: &BindingSpec, options: &Options) -> Result<Self, BindingError> {
        let interval = match number(spec, "pollingIntervalInMs")? {
            None => options.polling_interval_ms.get(),
            Some(0) => {
                return Err(invalid_property(spec, "pollingIntervalInMs", "must be a positive number"));
            }
            Some(interval) => interval,
        };
        let batch_size_max = match number(spec, "maxBatchSize")? {
            None => options.batch_size_max.get(),
            Some(count) => u32::try_from(count)
                .ok()
                .filter(|count| *count > 0)
                .ok_or_else(|| invalid_property(spec, "maxBatchSize", "must be a positive number"))?,
        };
        let is_batched = match spec.text("cardinality") {
            None => false,
            Some(many) if many.eq_ignore_ascii_case("many") => true,
            Some(one) if one.eq_ignore_ascii_case("one") => false,
            Some(_) => return Err(invalid_property(spec, "cardinality", "must be one or many")),
        };
        Ok(Self {
            function: spec.function.clone(),
            key: required(spec, "key")?.to_owned(),
            polling_interval: Duration::from_millis(interval),
            batch_size_max: batch_size_max as usize,
            is_batched,
            lock: Duration::from_millis(options.lock_ms.get()),
        })
    }

    /// The most deliveries at a time: one batch, or as many single entries as a batch has.
    pub(crate) fn in_flight_max(&self) -> usize {
        if self.is_batched { 1 } else { self.batch_size_max }
    }
}

/// `listDirection`: LEFT by default. Workers write it as text, .NET also as a number.
pub(crate) fn list_direction(spec: &BindingSpec) -> Result<ListDirection, BindingError> {
    match spec.property("listDirection") {
        None | Some(Json::Null) => Ok(ListDirection::Left),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("left") => Ok(ListDirection::Left),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("right") => Ok(ListDirection::Right),
        Some(Json::Number(number)) if number.as_u64() == Some(0) => Ok(ListDirection::Left),
        Some(Json::Number(number)) if number.as_u64() == Some(1) => Ok(ListDirection::Right),
        Some(_) => Err(invalid_property(spec, "listDirection", "must be LEFT or RIGHT")),
    }
}

/// A property that must be set.
pub(crate) fn required<'a>(spec: &'a BindingSpec, name: &str) -> Result<&'a str, BindingError> {
    spec.text(name).ok_or_else(|| invalid_property(spec, name, "is missing; set it"))
}

/// `true` or `false`, also as text, because `%SETTING%` becomes text.
pub(crate) fn boolean(spec: &BindingSpec, name: &str) -> Result<bool, BindingError> {
    match spec.property(name) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(value)) => Ok(*value),
        Some(Json::String(text)) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        Some(Json::String(text)) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(invalid_property(spec, name, "must be true or false")),
    }
}

/// The declaration error for a property; it names the function, the binding and the property.
pub(crate) fn invalid_property(spec: &BindingSpec, property: &str, why: &str) -> BindingError {
    BindingError::Declaration(format!(
        "function '{}', {} '{}': property '{property}' {why}",
        spec.function, spec.kind, spec.name
    ))
}

fn number(spec: &BindingSpec, name: &str) -> Result<Option<u64>, BindingError> {
    let parsed = match spec.property(name) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Number(number)) => number.as_u64(),
        Some(Json::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    parsed.map(Some).ok_or_else(|| invalid_property(spec, name, "must be a whole number"))
}
