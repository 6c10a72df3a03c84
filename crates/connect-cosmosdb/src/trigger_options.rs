//! The properties of a `cosmosDBTrigger`, under their current and their old names.

use std::time::{Duration, SystemTime};

use functions_contract::{BindingError, BindingSpec};
use serde_json::Value as Json;

use crate::client::{ContainerName, StartFrom};
use crate::lease_renewer::LeaseIntervals;
use crate::options::Options;

/// A trigger as the app declares it.
#[derive(Clone, Debug)]
pub(crate) struct TriggerOptions {
    pub(crate) function: String,
    pub(crate) monitored: ContainerName,
    pub(crate) leases: ContainerName,
    /// `leaseContainerPrefix`: distinguishes the triggers on one container that share a lease container.
    pub(crate) processor: String,
    pub(crate) create_leases: bool,
    pub(crate) leases_throughput: Option<u64>,
    pub(crate) start: StartFrom,
    pub(crate) items_max: u32,
    pub(crate) poll_delay: Duration,
    pub(crate) intervals: LeaseIntervals,
}

impl TriggerOptions {
    /// Reads the properties; `defaults` has the values of those that are not set.
    pub(crate) fn parse(spec: &BindingSpec, defaults: &Options) -> Result<Self, BindingError> {
        let monitored = container_name(spec)?;
        let lease_container =
            text(spec, &["leaseContainerName", "leaseCollectionName"]).unwrap_or("leases").to_owned();
        let lease_database = text(spec, &["leaseDatabaseName"]).unwrap_or(&monitored.database).to_owned();
        let milliseconds = |names: &[&str], default: u64| -> Result<Duration, BindingError> {
            Ok(Duration::from_millis(number(spec, names)?.unwrap_or(default)))
        };
        let items_max = number(spec, &["maxItemsPerInvocation"])?.map_or(
            Ok(defaults.items_per_invocation_max.get()),
            |count| {
                let fits = u32::try_from(count).ok().filter(|count| *count > 0);
                fits.ok_or_else(|| {
                    invalid_property(spec, "maxItemsPerInvocation", "must be a positive number")
                })
            },
        )?;
        Ok(Self {
            function: spec.function.clone(),
            monitored,
            leases: ContainerName { database: lease_database, container: lease_container },
            processor: text(spec, &["leaseContainerPrefix", "leaseCollectionPrefix"])
                .unwrap_or("")
                .to_owned(),
            create_leases: boolean(
                spec,
                &["createLeaseContainerIfNotExists", "createLeaseCollectionIfNotExists"],
            )?,
            leases_throughput: number(spec, &["leasesContainerThroughput", "leasesCollectionThroughput"])?,
            start: start(spec)?,
            items_max,
            poll_delay: milliseconds(&["feedPollDelay"], defaults.feed_poll_delay_ms)?,
            intervals: LeaseIntervals {
                acquire: milliseconds(&["leaseAcquireInterval"], defaults.lease_acquire_interval_ms.get())?,
                renew: milliseconds(&["leaseRenewInterval"], defaults.lease_renew_interval_ms.get())?,
                expiry: milliseconds(
                    &["leaseExpirationInterval"],
                    defaults.lease_expiration_interval_ms.get(),
                )?,
            },
        })
    }
}

/// The container that a trigger or binding names; `collectionName` is the old property.
pub(crate) fn container_name(spec: &BindingSpec) -> Result<ContainerName, BindingError> {
    let required = |names: &[&str]| {
        text(spec, names)
            .map(str::to_owned)
            .ok_or_else(|| invalid_property(spec, names[0], "is missing; set it"))
    };
    Ok(ContainerName {
        database: required(&["databaseName"])?,
        container: required(&["containerName", "collectionName"])?,
    })
}

/// The text of a property that has several names; the first one that is set.
pub(crate) fn text<'a>(spec: &'a BindingSpec, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| spec.text(name))
}

/// A whole number, also as text, because `%SETTING%` becomes text.
pub(crate) fn number(spec: &BindingSpec, names: &[&str]) -> Result<Option<u64>, BindingError> {
    let Some((name, value)) = first(spec, names) else { return Ok(None) };
    let parsed = match value {
        Json::Number(number) => number.as_u64(),
        Json::String(text) => text.trim().parse().ok(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    };
    parsed.map(Some).ok_or_else(|| invalid_property(spec, name, "must be a whole number"))
}

/// `true` or `false`, also as text.
pub(crate) fn boolean(spec: &BindingSpec, names: &[&str]) -> Result<bool, BindingError> {
    let Some((name, value)) = first(spec, names) else { return Ok(false) };
    match value {
        Json::Bool(value) => Ok(*value),
        Json::String(text) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        Json::String(text) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(invalid_property(spec, name, "must be true or false")),
    }
}

/// The declaration error for a property; it names the function, the binding and the property.
pub(crate) fn invalid_property(spec: &BindingSpec, property: &str, why: &str) -> BindingError {
    BindingError::Declaration(format!(
        "function '{}', {} '{}': property '{property}' {why}",
        spec.function, spec.kind, spec.name
    ))
}

fn first<'a>(spec: &'a BindingSpec, names: &[&'a str]) -> Option<(&'a str, &'a Json)> {
    let found = names.iter().find_map(|name| spec.property(name).map(|value| (*name, value)));
    found.filter(|(_, value)| !value.is_null())
}

fn start(spec: &BindingSpec) -> Result<StartFrom, BindingError> {
    let from_beginning = boolean(spec, &["startFromBeginning"])?;
    match (from_beginning, text(spec, &["startFromTime"])) {
        (true, Some(_)) => {
            Err(invalid_property(spec, "startFromTime", "contradicts startFromBeginning; keep one of them"))
        }
        (true, None) => Ok(StartFrom::Beginning),
        (false, None) => Ok(StartFrom::Now),
        (false, Some(time)) => {
            let parsed: Result<jiff::Timestamp, _> = time.trim().parse();
            let parsed = parsed.map_err(|_| {
                invalid_property(spec, "startFromTime", "must be a time in UTC such as 2026-11-20T21:36:21Z")
            })?;
            Ok(StartFrom::At(SystemTime::from(parsed)))
        }
    }
}
