//! The configuration as data.

use serde_json::{Map, Value};

use crate::OcelotLocation;

/// Everything that was read from the files. Entries keep the order in which Ocelot considers them.
#[derive(Clone, Debug, Default)]
pub struct OcelotConfiguration {
    /// `Routes`, formerly `ReRoutes`.
    pub routes: Vec<ConfiguredRoute>,
    /// `DynamicRoutes`.
    pub dynamic_routes: Vec<DynamicRoute>,
    /// `Aggregates`.
    pub aggregates: Vec<AggregateRoute>,
    /// `GlobalConfiguration`.
    pub global: GlobalConfiguration,
    /// What the reader should know; none of it prevents a start.
    pub notices: Vec<crate::OcelotNotice>,
    /// Values that are not of the type of their property.
    pub(crate) type_problems: Vec<crate::OcelotProblem>,
}

/// What Ocelot knows from the program around it rather than from the files.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The authentication schemes. `None` leaves `AuthenticationProviderKeys` unchecked.
    pub authentication_schemes: Option<Vec<String>>,
}

/// One upstream host of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamHost {
    /// Name or address, as written.
    pub host: String,
    /// The port; 0 stands for the default port of the scheme.
    pub port: u16,
}

/// An entry of `Routes`. The names are Ocelot's, in Rust's spelling.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "Ocelot's documentation defines the properties; the names are the same")]
pub struct ConfiguredRoute {
    pub location: OcelotLocation,
    pub upstream_path_template: Option<String>,
    /// Trimmed, as written otherwise; empty for all methods.
    pub upstream_http_method: Vec<String>,
    pub upstream_host: Option<String>,
    pub upstream_header_templates: Vec<(String, String)>,
    pub route_is_case_sensitive: bool,
    pub priority: i64,
    pub downstream_path_template: Option<String>,
    pub downstream_http_method: Option<String>,
    pub downstream_scheme: Option<String>,
    pub downstream_hosts: Vec<DownstreamHost>,
    pub downstream_http_version: Option<String>,
    pub downstream_http_version_policy: Option<String>,
    pub service_name: Option<String>,
    pub service_namespace: Option<String>,
    pub key: Option<String>,
    pub timeout_seconds: Option<i64>,
    pub upstream_header_transform: Vec<(String, String)>,
    pub downstream_header_transform: Vec<(String, String)>,
    pub request_id_key: Option<String>,
    /// The entry as written, with every other property.
    pub properties: Map<String, Value>,
}

/// An entry of `DynamicRoutes`.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "Ocelot's documentation defines the properties; the names are the same")]
pub struct DynamicRoute {
    pub location: OcelotLocation,
    pub service_name: Option<String>,
    pub service_namespace: Option<String>,
    pub downstream_scheme: Option<String>,
    /// The entry as written, with every other property.
    pub properties: Map<String, Value>,
}

/// An entry of `Aggregates`.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "Ocelot's documentation defines the properties; the names are the same")]
pub struct AggregateRoute {
    pub location: OcelotLocation,
    pub upstream_path_template: Option<String>,
    /// `GET` and what the entry adds.
    pub upstream_http_method: Vec<String>,
    pub upstream_host: Option<String>,
    pub upstream_header_templates: Vec<(String, String)>,
    pub route_is_case_sensitive: bool,
    pub priority: i64,
    /// Without repetitions.
    pub route_keys: Vec<String>,
    /// The entry as written, with every other property.
    pub properties: Map<String, Value>,
}

/// `GlobalConfiguration`.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "Ocelot's documentation defines the properties; the names are the same")]
pub struct GlobalConfiguration {
    pub location: OcelotLocation,
    pub base_url: Option<String>,
    pub downstream_scheme: Option<String>,
    pub upstream_header_transform: Vec<(String, String)>,
    pub downstream_header_transform: Vec<(String, String)>,
    pub discovery: Option<DiscoveryProvider>,
    /// The object as written, with every other property.
    pub properties: Map<String, Value>,
}

/// `GlobalConfiguration.ServiceDiscoveryProvider`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryProvider {
    /// Such as `Consul`; never empty.
    pub kind: String,
    /// The host of the registry.
    pub host: String,
    /// Its port; 0 if none was written.
    pub port: u16,
}

impl DiscoveryProvider {
    /// True if requests can be led to services by name: Ocelot needs host, port and type for it.
    pub fn routes_by_name(&self) -> bool {
        !self.host.is_empty() && self.port != 0
    }
}

/// The value of a property, whose name is compared without case.
pub(crate) fn property<'a>(properties: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    properties
        .iter()
        .find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null())
        .map(|(_, value)| value)
}

/// A scalar as .NET's configuration holds it: as text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(if *flag { "True" } else { "False" }.to_owned()),
        _ => None,
    }
}
