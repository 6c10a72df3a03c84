//! `chappe gateway check`, `routes` and `explain` for an Ocelot configuration.

use std::fmt::Write as _;

use http::{HeaderValue, header};
use ocelot::{
    ConfiguredRoute, DownstreamHost, DynamicRoute, IncomingRequest, NearMiss, OcelotConfiguration,
    OcelotDecision, OcelotForward, OcelotNotice, OcelotProblem, OcelotRouter, RouteSummary, Surroundings,
    TransformContext,
};

use super::request::ExplainedRequest;

/// At most so many routes that do not apply are named.
const NEAR_MISSES: usize = 10;

/// Everything that prevents a start.
pub(super) fn problems(configuration: &OcelotConfiguration) -> Vec<OcelotProblem> {
    configuration.problems(&Surroundings::default())
}

/// What the files contain without effect, and what the templates do.
pub(super) fn notices(configuration: &OcelotConfiguration) -> Vec<OcelotNotice> {
    let mut notices = configuration.notices.clone();
    if let Ok(router) = OcelotRouter::compile(configuration) {
        notices.extend_from_slice(router.notices());
    }
    notices
}

/// One line for each route, in the order in which they are tried.
pub(super) fn list(router: &OcelotRouter, dynamic: &[DynamicRoute]) -> String {
    let rows: Vec<[String; 4]> = router.summaries().map(|route| row(&route)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [methods, template, targets, location] in &rows {
        let _ = writeln!(
            text,
            "{methods:0$}  {template:1$}  {targets:2$}  {location}",
            widths[0], widths[1], widths[2]
        );
    }
    for route in dynamic {
        let name = route.service_name.as_deref().unwrap_or_default();
        let _ = writeln!(text, "service {name} by discovery  {}", route.location);
    }
    if text.is_empty() { "The configuration has no routes.".to_owned() } else { text }
}

fn row(route: &RouteSummary<'_>) -> [String; 4] {
    let methods = if route.methods.is_empty() { "any".to_owned() } else { route.methods.join(",") };
    let host = route.host.unwrap_or_default();
    let mut conditions = String::new();
    if route.headers {
        conditions.push_str(" (with headers)");
    }
    if route.priority != 1 {
        let _ = write!(conditions, " (priority {})", route.priority);
    }
    let targets: Vec<String> = route.routes.iter().map(|target| downstream(target)).collect();
    let location = format!("{}: {}", route.location.file, entry(&route.location.entry));
    [methods, format!("{host}{}{conditions}", route.template), targets.join(" + "), location]
}

/// `Routes[3]` without the template, which the row has anyway.
fn entry(entry: &str) -> &str {
    entry.split(' ').next().unwrap_or(entry)
}

fn downstream(route: &ConfiguredRoute) -> String {
    let path = route.downstream_path_template.as_deref().unwrap_or_default();
    let scheme = route.downstream_scheme.as_deref().unwrap_or("http");
    match (&route.service_name, route.downstream_hosts.split_first()) {
        (Some(service), _) => format!("{scheme}://{{{service}}}{path}"),
        (None, Some((host, []))) => format!("{scheme}://{}{path}", authority(host)),
        (None, Some((host, more))) => format!("{scheme}://{} (+{}){path}", authority(host), more.len()),
        (None, None) => path.to_owned(),
    }
}

fn authority(host: &DownstreamHost) -> String {
    if host.port == 0 { host.host.clone() } else { format!("{}:{}", host.host, host.port) }
}

/// Which route the request gets, why, and what would be sent.
pub(super) fn explain(router: &OcelotRouter, request: &ExplainedRequest) -> String {
    let incoming = IncomingRequest {
        method: &request.method,
        target: &request.target,
        host: &request.host,
        headers: &request.headers,
    };
    let mut text = format!("{} {} (Host: {})\n", request.method, request.target, request.host);
    match router.decide(&incoming) {
        OcelotDecision::Forward(forward) => {
            let _ = writeln!(text, "route: {}", forward.route.location);
            text.push_str("why:   the first route, by UpstreamHost, Priority and place in the files, whose method, host, path and headers match\n");
            sends(&mut text, &forward, request);
        }
        OcelotDecision::Aggregate { aggregate, forwards } => {
            let _ = writeln!(text, "route: {}", aggregate.location);
            let _ = writeln!(text, "why:   an aggregate of {}", aggregate.route_keys.join(", "));
            for forward in &forwards {
                sends(&mut text, forward, request);
            }
        }
        OcelotDecision::Dynamic(forward) => {
            let location = forward.entry.map(|entry| entry.location.to_string());
            let _ = writeln!(text, "route: {}", location.as_deref().unwrap_or("by the name of the service"));
            text.push_str(
                "why:   no static route matches, and the first segment of the path names a service\n",
            );
            let namespace =
                forward.namespace.map(|name| format!(" in the namespace {name}")).unwrap_or_default();
            let _ = writeln!(
                text,
                "sends: {} {} to an instance of {}{namespace}, which the discovery provider must know",
                request.method, forward.target, forward.service
            );
        }
        OcelotDecision::Reject(rejection) => {
            let _ = writeln!(text, "no route: {} ({rejection})", rejection.status());
        }
    }
    let misses = router.near_misses(&incoming);
    for (route, miss) in misses.iter().take(NEAR_MISSES) {
        let why = match miss {
            NearMiss::Method => format!("only for {}", route.methods.join(", ")),
            NearMiss::Host => format!("only for the host {}", route.host.unwrap_or_default()),
            NearMiss::Headers => "its UpstreamHeaderTemplates do not match".to_owned(),
            NearMiss::Later => "it matches too, but comes later".to_owned(),
        };
        let _ = writeln!(text, "not:   {}: {why}", route.location);
    }
    if misses.len() > NEAR_MISSES {
        let _ = writeln!(text, "       and {} more", misses.len() - NEAR_MISSES);
    }
    text
}

fn sends(text: &mut String, forward: &OcelotForward<'_>, request: &ExplainedRequest) {
    let route = forward.route;
    let (instance, note) = match (&route.service_name, route.downstream_hosts.split_first()) {
        (Some(service), _) => {
            (service.clone(), " (an instance that the discovery provider knows)".to_owned())
        }
        (None, Some((host, []))) => (authority(host), String::new()),
        (None, Some((host, more))) => {
            (authority(host), format!(" (or one of {} more instances)", more.len()))
        }
        (None, None) => (String::new(), " (without an instance)".to_owned()),
    };
    let (method, scheme, target) = (&forward.method, forward.scheme, &forward.target);
    let _ = writeln!(text, "sends: {method} {scheme}://{instance}{target}{note}");
    let mut headers = request.headers.clone();
    let context = TransformContext {
        remote_address: "127.0.0.1",
        downstream_base_url: &format!("{scheme}://{instance}/"),
    };
    forward.transforms.apply_to_request(&mut headers, &context);
    if let Ok(host) = HeaderValue::from_str(&instance) {
        headers.insert(header::HOST, host);
    }
    for (name, value) in &headers {
        let _ = writeln!(text, "       {name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
}
