//! Finds the route of a request. Everything that does not depend on the request is done when the configuration is loaded.

use std::borrow::Cow;

use http::HeaderMap;

use crate::decision::{DynamicForward, OcelotDecision, OcelotForward, OcelotRejection};
use crate::downstream_template::{DownstreamTemplate, PlaceholderValue};
use crate::header_template::HeaderTemplate;
use crate::header_transform::HeaderTransforms;
use crate::index::Index;
use crate::path_template::PathTemplate;
use crate::request_path::{self, RequestPath};
use crate::{
    AggregateRoute, ConfiguredRoute, DiscoveryProvider, DynamicRoute, OcelotConfiguration, OcelotLocation,
    OcelotNotice, OcelotProblem,
};

/// The compiled routes of a configuration.
#[derive(Debug)]
pub struct OcelotRouter {
    routes: Vec<RouteData>,
    aggregates: Vec<AggregateRoute>,
    /// In the order of precedence: the first that matches wins.
    matchers: Vec<Matcher>,
    index: Index,
    dynamic: Dynamic,
    notices: Vec<OcelotNotice>,
}

/// What a request is matched by.
#[derive(Clone, Copy, Debug)]
pub struct IncomingRequest<'a> {
    /// The method as received.
    pub method: &'a str,
    /// The request target as received, in origin or absolute form.
    pub target: &'a str,
    /// The value of `Host` or `:authority`.
    pub host: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// A route for a list: what it matches and where it leads.
#[derive(Clone, Debug)]
pub struct RouteSummary<'r> {
    /// Where it is configured.
    pub location: &'r OcelotLocation,
    /// The upstream template.
    pub template: &'r str,
    /// In upper case; empty for all methods.
    pub methods: &'r [String],
    /// The required host.
    pub host: Option<&'r str>,
    /// The priority that counts.
    pub priority: i64,
    /// True if headers are compared too.
    pub headers: bool,
    /// The routes it leads to: one, or those of an aggregate.
    pub routes: Vec<&'r ConfiguredRoute>,
}

/// Why a route whose path matches is not the one that a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearMiss {
    /// The method is not in `UpstreamHttpMethod`.
    Method,
    /// `UpstreamHost` is another host.
    Host,
    /// A header that `UpstreamHeaderTemplates` names is missing or different.
    Headers,
    /// It matches, but another route comes before it.
    Later,
}

#[derive(Debug)]
struct RouteData {
    route: ConfiguredRoute,
    /// `DownstreamHttpMethod`, in the spelling that is sent.
    method: Option<String>,
    scheme: String,
    transforms: HeaderTransforms,
}

#[derive(Debug)]
struct Matcher {
    path: PathTemplate,
    template: String,
    methods: Vec<String>,
    host: Option<String>,
    headers: Vec<HeaderTemplate>,
    priority: i64,
    /// The placeholders of the path, then those of the headers.
    names: Vec<String>,
    /// The routes by their position, each with its downstream template for these placeholders.
    targets: Vec<(usize, DownstreamTemplate)>,
    /// The position of the aggregate, if it is one.
    aggregate: Option<usize>,
}

#[derive(Debug)]
enum Dynamic {
    Off,
    /// Every service of the discovery provider: there are no static routes.
    AllServices(Vec<DynamicRoute>),
    /// Beside static routes only the services that `DynamicRoutes` names.
    Listed(Vec<DynamicRoute>),
}

impl OcelotRouter {
    /// Compiles all routes.
    ///
    /// # Errors
    ///
    /// If templates cannot be compiled; every one is named. [`OcelotConfiguration::problems`] finds more.
    pub fn compile(configuration: &OcelotConfiguration) -> Result<Self, Vec<OcelotProblem>> {
        let mut compiler = Compiler { problems: Vec::new(), notices: Vec::new() };
        let routes: Vec<RouteData> =
            configuration.routes.iter().map(|route| compiler.route(route, configuration)).collect();
        let mut matchers: Vec<Matcher> =
            (0..routes.len()).filter_map(|index| compiler.static_route(index, &routes)).collect();
        for (index, aggregate) in configuration.aggregates.iter().enumerate() {
            matchers.extend(compiler.aggregate(index, aggregate, &routes));
        }
        if !compiler.problems.is_empty() {
            return Err(compiler.problems);
        }
        // A route with a host beats those without, whatever their priority. The sort is stable: the order of the files breaks ties.
        matchers.sort_by_key(|matcher| (matcher.host.is_none(), std::cmp::Reverse(matcher.priority)));
        let index = Index::new(matchers.iter().map(|matcher| matcher.path.key(&matcher.template)));
        Ok(Self {
            routes,
            aggregates: configuration.aggregates.clone(),
            matchers,
            index,
            dynamic: Dynamic::new(configuration),
            notices: compiler.notices,
        })
    }

    /// What was found while compiling: transforms without effect, templates that are regular expressions.
    pub fn notices(&self) -> &[OcelotNotice] {
        &self.notices
    }

    /// The routes in the order of precedence.
    pub fn summaries(&self) -> impl Iterator<Item = RouteSummary<'_>> {
        self.matchers.iter().map(|matcher| self.summary(matcher))
    }

    fn summary<'r>(&'r self, matcher: &'r Matcher) -> RouteSummary<'r> {
        let location = match matcher.aggregate {
            Some(index) => &self.aggregates[index].location,
            None => &self.routes[matcher.targets[0].0].route.location,
        };
        RouteSummary {
            location,
            template: &matcher.template,
            methods: &matcher.methods,
            host: matcher.host.as_deref(),
            priority: matcher.priority,
            headers: !matcher.headers.is_empty(),
            routes: matcher.targets.iter().map(|(index, _)| &self.routes[*index].route).collect(),
        }
    }

    /// The routes whose path matches although the request gets another one or none, in the order of precedence. For explanations: it
    /// looks at every route.
    pub fn near_misses(&self, request: &IncomingRequest<'_>) -> Vec<(RouteSummary<'_>, NearMiss)> {
        let Ok(path) = request_path::normalise(request.method, request.target, request.host) else {
            return Vec::new();
        };
        let mut found = false;
        let misses = self.matchers.iter().filter(|matcher| matcher.path.matches(&path.path, path.query));
        let misses = misses.filter_map(|matcher| {
            let miss = if !matcher.has_method(request) {
                NearMiss::Method
            } else if !matcher.has_host(request) {
                NearMiss::Host
            } else if !matcher.has_headers(request) {
                NearMiss::Headers
            } else if std::mem::replace(&mut found, true) {
                NearMiss::Later
            } else {
                return None;
            };
            Some((self.summary(matcher), miss))
        });
        misses.collect()
    }

    /// Finds the route of a request, and what goes downstream.
    pub fn decide(&self, request: &IncomingRequest<'_>) -> OcelotDecision<'_> {
        let decided =
            request_path::normalise(request.method, request.target, request.host).and_then(|path| {
                // Without a host Ocelot cannot make the request's address, and finds no route.
                if request.host.is_empty() {
                    return Err(OcelotRejection::NoRoute);
                }
                let found = self.index.find(&path.path, |rank| self.matchers[rank].matches(request, &path));
                match found {
                    Some(rank) => self.forward(&self.matchers[rank], request, &path),
                    None => self.dynamic.decide(&path).map(OcelotDecision::Dynamic),
                }
            });
        decided.unwrap_or_else(OcelotDecision::Reject)
    }

    fn forward(
        &self,
        matcher: &Matcher,
        request: &IncomingRequest<'_>,
        path: &RequestPath<'_>,
    ) -> Result<OcelotDecision<'_>, OcelotRejection> {
        let values = matcher.values(request, path);
        let forward = |(index, template): &(usize, DownstreamTemplate)| {
            let data = &self.routes[*index];
            let method = match &data.method {
                Some(method) => Cow::Borrowed(method.as_str()),
                None => known_method(request.method)
                    .map_or_else(|| Cow::Owned(request.method.to_owned()), Cow::Borrowed),
            };
            Ok(OcelotForward {
                route: &data.route,
                method,
                scheme: &data.scheme,
                target: template.target(&matcher.names, &values, &path.path, path.query)?,
                transforms: &data.transforms,
            })
        };
        match matcher.aggregate {
            None => matcher
                .targets
                .first()
                .map_or(Err(OcelotRejection::NoRoute), forward)
                .map(OcelotDecision::Forward),
            Some(index) => {
                let forwards = matcher.targets.iter().map(forward).collect::<Result<_, _>>()?;
                Ok(OcelotDecision::Aggregate { aggregate: &self.aggregates[index], forwards })
            }
        }
    }
}

impl Matcher {
    fn matches(&self, request: &IncomingRequest<'_>, path: &RequestPath<'_>) -> bool {
        self.has_method(request)
            && self.has_host(request)
            && self.path.matches(&path.path, path.query)
            && self.has_headers(request)
    }

    fn has_method(&self, request: &IncomingRequest<'_>) -> bool {
        self.methods.is_empty()
            || self.methods.iter().any(|method| method.eq_ignore_ascii_case(request.method))
    }

    fn has_host(&self, request: &IncomingRequest<'_>) -> bool {
        let without_port = request.host.split(':').next().unwrap_or_default();
        self.host.as_deref().is_none_or(|host| host == without_port)
    }

    fn has_headers(&self, request: &IncomingRequest<'_>) -> bool {
        self.headers.iter().all(|header| header.matches(request.headers))
    }

    fn values<'a>(
        &self,
        request: &IncomingRequest<'_>,
        path: &'a RequestPath<'_>,
    ) -> Vec<PlaceholderValue<'a>> {
        let mut values = Vec::with_capacity(self.names.len());
        // An expression may read a value from the query; others are parts of the path.
        let placeholder: fn(Cow<'a, str>) -> PlaceholderValue<'a> =
            if self.path.is_expression() { PlaceholderValue::Other } else { PlaceholderValue::Path };
        values.extend(self.path.values(&path.path, path.query).into_iter().map(placeholder));
        values.resize(self.path.names.len(), PlaceholderValue::Unread);
        for header in &self.headers {
            let of_header = header.values(request.headers);
            values.extend(of_header.into_iter().map(|value| PlaceholderValue::Other(Cow::Owned(value))));
        }
        values.resize(self.names.len(), PlaceholderValue::Unread);
        values
    }
}

struct Compiler {
    problems: Vec<OcelotProblem>,
    notices: Vec<OcelotNotice>,
}

impl Compiler {
    fn route(&mut self, route: &ConfiguredRoute, configuration: &OcelotConfiguration) -> RouteData {
        let global = &configuration.global;
        let mut ineffective = Vec::new();
        let transforms = HeaderTransforms::compile(
            [&route.upstream_header_transform, &global.upstream_header_transform],
            [&route.downstream_header_transform, &global.downstream_header_transform],
            global.base_url.as_deref(),
            &mut ineffective,
        );
        self.notices.extend(ineffective.into_iter().map(|(property, reason)| OcelotNotice::NoEffect {
            location: route.location.at(&property),
            reason,
        }));
        let scheme = route.downstream_scheme.as_ref().or(global.downstream_scheme.as_ref());
        RouteData {
            route: route.clone(),
            method: route
                .downstream_http_method
                .as_deref()
                .map(|method| known_method(method).unwrap_or(method).to_owned()),
            scheme: scheme.map_or_else(|| "http".to_owned(), |scheme| scheme.to_ascii_lowercase()),
            transforms,
        }
    }

    fn static_route(&mut self, index: usize, routes: &[RouteData]) -> Option<Matcher> {
        let route = &routes[index].route;
        let template = route.upstream_path_template.as_deref().unwrap_or_default();
        let (path, headers, names) = self.templates(
            &route.location,
            template,
            &route.upstream_header_templates,
            route.route_is_case_sensitive,
        )?;
        let downstream = route.downstream_path_template.as_deref().unwrap_or_default();
        Some(Matcher {
            priority: if path.is_everything() { 0 } else { route.priority },
            template: template.to_owned(),
            methods: upper(&route.upstream_http_method),
            host: route.upstream_host.clone(),
            headers,
            targets: vec![(index, DownstreamTemplate::compile(downstream, &names))],
            names,
            path,
            aggregate: None,
        })
    }

    fn aggregate(
        &mut self,
        index: usize,
        aggregate: &AggregateRoute,
        routes: &[RouteData],
    ) -> Option<Matcher> {
        let template = aggregate.upstream_path_template.as_deref().unwrap_or_default();
        let (path, headers, names) = self.templates(
            &aggregate.location,
            template,
            &aggregate.upstream_header_templates,
            aggregate.route_is_case_sensitive,
        )?;
        let mut targets = Vec::with_capacity(aggregate.route_keys.len());
        for key in &aggregate.route_keys {
            // Ocelot leaves out an aggregate whose keys do not all exist; validation names them.
            let found = routes.iter().position(|data| data.route.key.as_ref() == Some(key))?;
            let downstream = routes[found].route.downstream_path_template.as_deref().unwrap_or_default();
            targets.push((found, DownstreamTemplate::compile(downstream, &names)));
        }
        let mut methods = upper(&aggregate.upstream_http_method);
        methods.dedup();
        Some(Matcher {
            priority: if path.is_everything() { 0 } else { aggregate.priority },
            template: template.to_owned(),
            methods,
            host: aggregate.upstream_host.clone(),
            headers,
            targets,
            names,
            path,
            aggregate: Some(index),
        })
    }

    fn templates(
        &mut self,
        location: &OcelotLocation,
        template: &str,
        headers: &[(String, String)],
        case_sensitive: bool,
    ) -> Option<(PathTemplate, Vec<HeaderTemplate>, Vec<String>)> {
        let mut problem = |property: &str, text: String| {
            self.problems.push(OcelotProblem { location: location.at(property), text });
        };
        let path = PathTemplate::compile(template, case_sensitive)
            .map_err(|text| problem("UpstreamPathTemplate", text))
            .ok()?;
        let mut compiled = Vec::with_capacity(headers.len());
        for (name, template) in headers {
            match HeaderTemplate::compile(name, template, case_sensitive) {
                Ok(header) => compiled.push(header),
                Err(text) => problem(&format!("UpstreamHeaderTemplates.{name}"), text),
            }
        }
        let of_headers = compiled.iter().flat_map(|header| header.names.iter().cloned());
        let names = path.names.iter().cloned().chain(of_headers).collect();
        Some((path, compiled, names))
    }
}

impl Dynamic {
    fn new(configuration: &OcelotConfiguration) -> Self {
        let by_name = configuration.global.discovery.as_ref().is_some_and(DiscoveryProvider::routes_by_name);
        let entries = configuration.dynamic_routes.clone();
        match by_name {
            false => Self::Off,
            true if configuration.routes.is_empty() && configuration.aggregates.is_empty() => {
                Self::AllServices(entries)
            }
            true => Self::Listed(entries),
        }
    }

    /// The first segment names the service; the rest is its path.
    fn decide(&self, path: &RequestPath<'_>) -> Result<DynamicForward<'_>, OcelotRejection> {
        let (entries, listed) = match self {
            Self::Off => return Err(OcelotRejection::NoRoute),
            Self::AllServices(entries) => (entries, false),
            Self::Listed(entries) => (entries, true),
        };
        let after_slash = &path.path[1..];
        let (first, rest) =
            after_slash.find('/').map_or((after_slash, ""), |slash| after_slash.split_at(slash));
        let (namespace, service) =
            first.split_once('.').map_or((None, first), |(namespace, service)| (Some(namespace), service));
        if service.is_empty() {
            return Err(OcelotRejection::NoRoute);
        }
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        let entry = entries.iter().find(|entry| {
            entry.service_name.as_deref() == Some(service)
                && (namespace.is_none() || entry.service_namespace.as_deref() == namespace)
        });
        if listed && entry.is_none() {
            return Err(OcelotRejection::NoRoute);
        }
        let template = DownstreamTemplate::compile("", &[]);
        let mut target = template.target(&[], &[], "/", path.query)?;
        target.replace_range(..1, if rest.is_empty() { "/" } else { rest });
        Ok(DynamicForward {
            entry,
            service: service.to_owned(),
            namespace: namespace.map(str::to_owned),
            target,
        })
    }
}

/// The spelling in which .NET sends a known method: upper case.
fn known_method(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "CONNECT"];
    KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(method))
}

fn upper(methods: &[String]) -> Vec<String> {
    methods.iter().map(|method| method.to_ascii_uppercase()).collect()
}
