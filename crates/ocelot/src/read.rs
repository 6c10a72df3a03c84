//! From merged files to [`OcelotConfiguration`]: checks types, finds unknown and old properties.

use serde_json::{Map, Value};

use crate::configuration::{property, scalar};
use crate::merge::{self, ConfigurationFile, Merged, OcelotReadError, SectionEntry, Unread};
use crate::schema::{self, Property, Shape, Use};
use crate::{
    AggregateRoute, ConfiguredRoute, DiscoveryProvider, DownstreamHost, DynamicRoute, GlobalConfiguration,
    OcelotConfiguration, OcelotLocation, OcelotNotice, OcelotProblem,
};

impl OcelotConfiguration {
    /// Reads one file, or merges several in their order.
    ///
    /// # Errors
    ///
    /// If a file is no JSON object. Everything else that is wrong is in [`OcelotConfiguration::problems`].
    pub fn read(files: &[ConfigurationFile]) -> Result<Self, OcelotReadError> {
        let merged = merge::merge(files)?;
        let mut reader = Reader { configuration: Self::default() };
        reader.sections(merged);
        Ok(reader.configuration)
    }
}

struct Reader {
    configuration: OcelotConfiguration,
}

impl Reader {
    fn sections(&mut self, merged: Merged) {
        for (file, name, why) in merged.unread {
            self.unread_section(&file, &name, why);
        }
        for entry in merged.routes {
            if let Some((location, properties)) = self.entry(entry, "Routes", schema::ROUTE) {
                self.configuration.routes.push(route(location, properties));
            }
        }
        for entry in merged.dynamic_routes {
            if let Some((location, properties)) = self.entry(entry, "DynamicRoutes", schema::DYNAMIC_ROUTE) {
                self.configuration.dynamic_routes.push(dynamic_route(location, properties));
            }
        }
        for entry in merged.aggregates {
            if let Some((location, properties)) = self.entry(entry, "Aggregates", schema::AGGREGATE) {
                self.configuration.aggregates.push(aggregate(location, properties));
            }
        }
        if let Some(SectionEntry { file, value: Value::Object(properties), .. }) = merged.global {
            let location = OcelotLocation::new(&file, "GlobalConfiguration");
            self.check(&location, "", &properties, schema::GLOBAL);
            self.configuration.global = global(location, properties);
        }
    }

    fn unread_section(&mut self, file: &str, name: &str, why: Unread) {
        let location = OcelotLocation::new(file, name);
        let expected = match why {
            Unread::Unknown => {
                self.configuration.notices.push(OcelotNotice::Unknown(location));
                return;
            }
            Unread::GlobalElsewhere => {
                let reason =
                    "with split files it is read from ocelot.global.json only; move it there".to_owned();
                self.configuration.notices.push(OcelotNotice::NoEffect { location, reason });
                return;
            }
            Unread::NotAList => "a list of objects",
            Unread::NotAnObject => "an object",
        };
        self.problem(location, format!("must be {expected}"));
    }

    fn entry(
        &mut self,
        entry: SectionEntry,
        section: &str,
        known: &[Property],
    ) -> Option<(OcelotLocation, Map<String, Value>)> {
        let place = format!("{section}[{}]", entry.index);
        let Value::Object(properties) = entry.value else {
            self.problem(OcelotLocation::new(&entry.file, place), "must be an object".to_owned());
            return None;
        };
        let name = text(&properties, "UpstreamPathTemplate").or_else(|| text(&properties, "ServiceName"));
        let place = name.map_or(place.clone(), |name| format!("{place} ({name})"));
        let location = OcelotLocation::new(&entry.file, place);
        self.check(&location, "", &properties, known);
        Some((location, properties))
    }

    /// Compares an object with the properties that Ocelot knows there.
    fn check(
        &mut self,
        location: &OcelotLocation,
        parent: &str,
        properties: &Map<String, Value>,
        known: &[Property],
    ) {
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in properties {
            let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            let here = location.at(&path);
            if seen.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                self.problem(here.clone(), "is written twice; names are compared without case".to_owned());
            }
            seen.push(name.clone());
            let Some(property) = known.iter().find(|known| known.name.eq_ignore_ascii_case(name)) else {
                self.configuration.notices.push(OcelotNotice::Unknown(here));
                continue;
            };
            match property.used {
                Use::Routing => {}
                Use::Policy => self.configuration.notices.push(OcelotNotice::NotEnforced(here.clone())),
                Use::Old(current) => {
                    self.configuration.notices.push(OcelotNotice::Old { location: here.clone(), current });
                }
            }
            self.check_value(&here, &path, value, property.shape);
        }
    }

    fn check_value(&mut self, here: &OcelotLocation, path: &str, value: &Value, shape: Shape) {
        let expected = match (shape, value) {
            (_, Value::Null) => return,
            (Shape::Text, _) if scalar(value).is_some() => return,
            (Shape::Whole, _) if whole(value).is_some() => return,
            (Shape::Real, _) if real(value).is_some() => return,
            (Shape::Flag, _) if flag(value).is_some() => return,
            (Shape::Texts, Value::Array(values)) if values.iter().all(|value| scalar(value).is_some()) => {
                return;
            }
            (Shape::Map, Value::Object(_)) => return,
            (Shape::Object(known), Value::Object(properties)) => {
                return self.check(here, path, properties, known);
            }
            (Shape::Objects(known), Value::Array(values)) if values.iter().all(Value::is_object) => {
                for (index, properties) in values.iter().filter_map(Value::as_object).enumerate() {
                    self.check(here, &format!("{path}[{index}]"), properties, known);
                }
                return;
            }
            (Shape::Text, _) => "a text",
            (Shape::Whole, _) => "a whole number",
            (Shape::Real, _) => "a number",
            (Shape::Flag, _) => "true or false",
            (Shape::Texts, _) => "a list of texts",
            (Shape::Map | Shape::Object(_), _) => "an object",
            (Shape::Objects(_), _) => "a list of objects",
        };
        self.problem(here.clone(), format!("must be {expected}, not {value}"));
    }

    fn problem(&mut self, location: OcelotLocation, text: String) {
        self.configuration.type_problems.push(OcelotProblem { location, text });
    }
}

fn route(location: OcelotLocation, properties: Map<String, Value>) -> ConfiguredRoute {
    let of = |name| text(&properties, name);
    let hosts = property(&properties, "DownstreamHostAndPorts").and_then(Value::as_array);
    ConfiguredRoute {
        location,
        upstream_path_template: of("UpstreamPathTemplate"),
        upstream_http_method: texts(&properties, "UpstreamHttpMethod"),
        upstream_host: of("UpstreamHost").filter(|host| !host.is_empty()),
        upstream_header_templates: sorted_map(&properties, "UpstreamHeaderTemplates"),
        route_is_case_sensitive: case_sensitive(&properties),
        priority: priority(&properties),
        downstream_path_template: of("DownstreamPathTemplate"),
        downstream_http_method: of("DownstreamHttpMethod").filter(|method| !method.is_empty()),
        downstream_scheme: of("DownstreamScheme").filter(|scheme| !scheme.is_empty()),
        downstream_hosts: hosts.into_iter().flatten().filter_map(Value::as_object).map(host).collect(),
        downstream_http_version: of("DownstreamHttpVersion").filter(|version| !version.is_empty()),
        downstream_http_version_policy: of("DownstreamHttpVersionPolicy").filter(|policy| !policy.is_empty()),
        service_name: of("ServiceName").filter(|name| !name.is_empty()),
        service_namespace: of("ServiceNamespace").filter(|name| !name.is_empty()),
        key: of("Key"),
        timeout_seconds: property(&properties, "Timeout").and_then(whole),
        upstream_header_transform: sorted_map(&properties, "UpstreamHeaderTransform"),
        downstream_header_transform: sorted_map(&properties, "DownstreamHeaderTransform"),
        request_id_key: of("RequestIdKey").filter(|key| !key.is_empty()),
        properties,
    }
}

fn host(properties: &Map<String, Value>) -> DownstreamHost {
    DownstreamHost { host: text(properties, "Host").unwrap_or_default(), port: port(properties) }
}

fn dynamic_route(location: OcelotLocation, properties: Map<String, Value>) -> DynamicRoute {
    let of = |name| text(&properties, name).filter(|value| !value.is_empty());
    DynamicRoute {
        location,
        service_name: of("ServiceName"),
        service_namespace: of("ServiceNamespace"),
        downstream_scheme: of("DownstreamScheme"),
        properties,
    }
}

fn aggregate(location: OcelotLocation, properties: Map<String, Value>) -> AggregateRoute {
    let mut methods = vec!["GET".to_owned()];
    methods.extend(texts(&properties, "UpstreamHttpMethod"));
    let mut route_keys: Vec<String> = Vec::new();
    for key in [texts(&properties, "RouteKeys"), texts(&properties, "ReRouteKeys")].concat() {
        if !route_keys.contains(&key) {
            route_keys.push(key);
        }
    }
    AggregateRoute {
        location,
        upstream_path_template: text(&properties, "UpstreamPathTemplate"),
        upstream_http_method: methods,
        upstream_host: text(&properties, "UpstreamHost").filter(|host| !host.is_empty()),
        upstream_header_templates: sorted_map(&properties, "UpstreamHeaderTemplates"),
        route_is_case_sensitive: case_sensitive(&properties),
        priority: priority(&properties),
        route_keys,
        properties,
    }
}

fn global(location: OcelotLocation, properties: Map<String, Value>) -> GlobalConfiguration {
    let provider = property(&properties, "ServiceDiscoveryProvider").and_then(Value::as_object);
    let discovery = provider.and_then(|provider| {
        let kind = text(provider, "Type").filter(|kind| !kind.is_empty())?;
        let host = text(provider, "Host").unwrap_or_default();
        Some(DiscoveryProvider { kind, host, port: port(provider) })
    });
    GlobalConfiguration {
        location,
        base_url: text(&properties, "BaseUrl").filter(|url| !url.is_empty()),
        downstream_scheme: text(&properties, "DownstreamScheme").filter(|scheme| !scheme.is_empty()),
        upstream_header_transform: sorted_map(&properties, "UpstreamHeaderTransform"),
        downstream_header_transform: sorted_map(&properties, "DownstreamHeaderTransform"),
        discovery,
        properties,
    }
}

fn text(properties: &Map<String, Value>, name: &str) -> Option<String> {
    property(properties, name).and_then(scalar)
}

fn texts(properties: &Map<String, Value>, name: &str) -> Vec<String> {
    let values = property(properties, name).and_then(Value::as_array);
    values.into_iter().flatten().filter_map(scalar).map(|value| value.trim().to_owned()).collect()
}

/// .NET's configuration hands out the entries of an object in alphabetical order, without case.
fn sorted_map(properties: &Map<String, Value>, name: &str) -> Vec<(String, String)> {
    let entries = property(properties, name).and_then(Value::as_object);
    let mut entries: Vec<(String, String)> = entries
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), scalar(value)?)))
        .collect();
    entries.sort_by_key(|(name, _)| name.to_ascii_uppercase());
    entries
}

fn case_sensitive(properties: &Map<String, Value>) -> bool {
    ["RouteIsCaseSensitive", "ReRouteIsCaseSensitive"]
        .into_iter()
        .find_map(|name| property(properties, name).and_then(flag))
        .unwrap_or(false)
}

fn priority(properties: &Map<String, Value>) -> i64 {
    property(properties, "Priority").and_then(whole).unwrap_or(1)
}

fn port(properties: &Map<String, Value>) -> u16 {
    property(properties, "Port").and_then(whole).and_then(|port| u16::try_from(port).ok()).unwrap_or(0)
}

pub(crate) fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn real(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(crate) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}
