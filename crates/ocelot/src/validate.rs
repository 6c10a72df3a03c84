//! Validates as Ocelot does at its start.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::configuration::{property, scalar};
use crate::read::{flag, whole};
use crate::router::OcelotRouter;
use crate::{
    AggregateRoute, ConfiguredRoute, OcelotConfiguration, OcelotLocation, OcelotProblem, Surroundings,
};

impl OcelotConfiguration {
    /// Everything that prevents a start, in the order of the entries.
    pub fn problems(&self, surroundings: &Surroundings) -> Vec<OcelotProblem> {
        let mut found = Found { problems: self.type_problems.clone() };
        for route in &self.routes {
            found.templates(route);
            found.hosts(route);
            found.methods(&route.location, &route.upstream_http_method);
            found.versions(route);
            found.rate_limit(route);
            found.authentication(&route.location, &route.properties, surroundings);
        }
        found.authentication(&self.global.location, &self.global.properties, surroundings);
        found.duplicates(&self.routes);
        for aggregate in &self.aggregates {
            found.aggregate(aggregate, self);
        }
        if found.problems.is_empty()
            && let Err(problems) = OcelotRouter::compile(self)
        {
            return problems;
        }
        found.problems
    }
}

struct Found {
    problems: Vec<OcelotProblem>,
}

impl Found {
    fn add(&mut self, location: &OcelotLocation, property: &str, text: impl Into<String>) {
        self.problems.push(OcelotProblem { location: location.at(property), text: text.into() });
    }

    fn templates(&mut self, route: &ConfiguredRoute) {
        let templates = [
            ("UpstreamPathTemplate", route.upstream_path_template.as_deref()),
            ("DownstreamPathTemplate", route.downstream_path_template.as_deref()),
        ];
        for (name, template) in templates {
            self.template(&route.location, name, template.unwrap_or_default());
        }
    }

    fn template(&mut self, location: &OcelotLocation, name: &str, template: &str) {
        if template.is_empty() {
            return self.add(location, name, "is empty; write a path such as /orders/{id}");
        }
        if !template.starts_with('/') {
            self.add(location, name, format!("{template:?} must start with '/'"));
        }
        let lower = template.to_ascii_lowercase();
        if lower.contains("http://") || lower.contains("https://") {
            let text = format!(
                "{template:?} must be a path; scheme and host belong to other properties of the route"
            );
            self.add(location, name, text);
        } else if template.contains("//") {
            self.add(location, name, format!("{template:?} contains '//'; write one slash"));
        }
        let mut names = HashSet::new();
        for placeholder in placeholders(template) {
            if !names.insert(placeholder) {
                self.add(location, name, format!("{template:?} has the placeholder {placeholder} twice"));
            }
        }
    }

    fn hosts(&mut self, route: &ConfiguredRoute) {
        if route.service_name.is_some() {
            return;
        }
        if route.downstream_hosts.is_empty() {
            let text = "is empty; name a host and its port, or a ServiceName with service discovery";
            self.add(&route.location, "DownstreamHostAndPorts", text);
        }
        for (index, host) in route.downstream_hosts.iter().enumerate() {
            if host.host.trim().is_empty() {
                let property = format!("DownstreamHostAndPorts[{index}].Host");
                self.add(&route.location, &property, "is empty; write a name or an address");
            }
        }
    }

    fn methods(&mut self, location: &OcelotLocation, methods: &[String]) {
        for method in methods {
            if http::Method::from_bytes(method.as_bytes()).is_err() {
                self.add(
                    location,
                    "UpstreamHttpMethod",
                    format!("{method:?} is not an HTTP method, such as \"GET\""),
                );
            }
        }
    }

    fn versions(&mut self, route: &ConfiguredRoute) {
        if let Some(version) = &route.downstream_http_version
            && !is_version(version)
        {
            let text = format!("{version:?} is no version, such as \"1.1\" or \"2.0\"");
            self.add(&route.location, "DownstreamHttpVersion", text);
        }
        const POLICIES: [&str; 3] =
            ["RequestVersionExact", "RequestVersionOrLower", "RequestVersionOrHigher"];
        if let Some(policy) = &route.downstream_http_version_policy
            && !POLICIES.contains(&policy.as_str())
        {
            let text = format!("{policy:?} is none of {}", POLICIES.join(", "));
            self.add(&route.location, "DownstreamHttpVersionPolicy", text);
        }
    }

    fn rate_limit(&mut self, route: &ConfiguredRoute) {
        let Some(options) = property(&route.properties, "RateLimitOptions").and_then(Value::as_object) else {
            return;
        };
        if property(options, "EnableRateLimiting").and_then(flag) == Some(false) {
            return;
        }
        if property(options, "Limit").and_then(whole).is_some_and(|limit| limit <= 0) {
            self.add(&route.location, "RateLimitOptions.Limit", "must be more than 0");
        }
        let period = property(options, "Period").and_then(scalar).unwrap_or_default();
        if !is_period(period.trim()) {
            let text =
                format!("{period:?} is no period; write a number and ms, s, m, h or d, such as \"1m\"");
            self.add(&route.location, "RateLimitOptions.Period", text);
        }
    }

    fn authentication(
        &mut self,
        location: &OcelotLocation,
        properties: &serde_json::Map<String, Value>,
        surroundings: &Surroundings,
    ) {
        let (Some(schemes), Some(options)) = (
            &surroundings.authentication_schemes,
            property(properties, "AuthenticationOptions").and_then(Value::as_object),
        ) else {
            return;
        };
        // The old property wins; the list is read only if it is empty.
        let old = property(options, "AuthenticationProviderKey").and_then(scalar);
        let keys = match old.filter(|key| !key.trim().is_empty()) {
            Some(key) => vec![key],
            None => {
                let keys = property(options, "AuthenticationProviderKeys").and_then(Value::as_array);
                keys.into_iter().flatten().filter_map(scalar).collect()
            }
        };
        for key in keys.iter().filter(|key| !schemes.contains(key)) {
            let text =
                format!("{key:?} is no configured authentication scheme; there are: {}", schemes.join(", "));
            self.add(location, "AuthenticationOptions.AuthenticationProviderKeys", text);
        }
    }

    /// Two routes with the same template, host and header templates must differ in their methods.
    fn duplicates(&mut self, routes: &[ConfiguredRoute]) {
        type Group<'a> = (&'a str, Option<&'a str>, &'a [(String, String)]);
        let mut groups: HashMap<Group<'_>, Vec<&ConfiguredRoute>> = HashMap::new();
        for route in routes {
            let Some(template) = &route.upstream_path_template else { continue };
            let group = (
                template.as_str(),
                route.upstream_host.as_deref(),
                route.upstream_header_templates.as_slice(),
            );
            let earlier = groups.entry(group).or_default();
            let clash = earlier.iter().find(|other| share_a_method(other, route));
            if let Some(other) = clash {
                let text = format!(
                    "is a duplicate of {} in {}: same path, host, header templates and method; remove one, or give both different UpstreamHttpMethod lists",
                    other.location.entry, other.location.file
                );
                self.add(&route.location, "", text);
            }
            earlier.push(route);
        }
    }

    fn aggregate(&mut self, aggregate: &AggregateRoute, configuration: &OcelotConfiguration) {
        let location = &aggregate.location;
        let template = aggregate.upstream_path_template.as_deref().unwrap_or_default();
        if !template.starts_with('/') {
            self.add(location, "UpstreamPathTemplate", format!("{template:?} must start with '/'"));
        }
        self.methods(location, &aggregate.upstream_http_method);
        for key in &aggregate.route_keys {
            let routes: Vec<_> =
                configuration.routes.iter().filter(|route| route.key.as_ref() == Some(key)).collect();
            if routes.len() != 1 {
                let text = format!("{key:?} must be the Key of one route; there are {}", routes.len());
                self.add(location, "RouteKeys", text);
            }
            if routes.iter().any(|route| route.request_id_key.is_some()) {
                let text = format!("the route {key:?} has a RequestIdKey, which an aggregate cannot have");
                self.add(location, "RouteKeys", text);
            }
        }
        let same = |path: Option<&String>, host: Option<&String>| {
            path == aggregate.upstream_path_template.as_ref() && host == aggregate.upstream_host.as_ref()
        };
        let route = configuration.routes.iter().find(|route| {
            same(route.upstream_path_template.as_ref(), route.upstream_host.as_ref())
                && route.upstream_http_method.iter().any(|method| method.eq_ignore_ascii_case("GET"))
        });
        if let Some(route) = route {
            let text = format!("{} has the same path and the method GET", route.location.entry);
            self.add(location, "UpstreamPathTemplate", text);
        }
        let equal = configuration
            .aggregates
            .iter()
            .filter(|other| same(other.upstream_path_template.as_ref(), other.upstream_host.as_ref()))
            .count();
        if equal > 1 {
            self.add(location, "UpstreamPathTemplate", "another aggregate has the same path and host");
        }
    }
}

fn share_a_method(one: &ConfiguredRoute, other: &ConfiguredRoute) -> bool {
    let (one, other) = (&one.upstream_http_method, &other.upstream_http_method);
    one.is_empty()
        || other.is_empty()
        || one.iter().any(|method| other.iter().any(|second| second.eq_ignore_ascii_case(method)))
}

/// `{name}` with its braces, for names of letters, digits and underscores.
fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    template.split_inclusive('}').filter_map(|part| {
        let start = part.rfind('{')?;
        let name = part[start + 1..].strip_suffix('}')?;
        let word = |character: char| character.is_alphanumeric() || character == '_';
        (!name.is_empty() && name.chars().all(word)).then_some(&part[start..])
    })
}

/// `2`, `1.1` or `1,1`.
fn is_version(text: &str) -> bool {
    match text.as_bytes() {
        [major] => major.is_ascii_digit(),
        [major, b'.' | b',', minor] => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// A number, which may have a fraction, and a unit. Ocelot ignores what follows the first letter of the unit.
fn is_period(text: &str) -> bool {
    let digits = |text: &str| text.len() - text.trim_start_matches(|next: char| next.is_ascii_digit()).len();
    let whole = digits(text);
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix('.')
        && digits(fraction) > 0
    {
        rest = &fraction[digits(fraction)..];
    }
    whole > 0 && rest.starts_with(['s', 'm', 'h', 'd'])
}
