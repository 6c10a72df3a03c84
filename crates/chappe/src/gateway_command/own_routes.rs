//! `chappe gateway routes` and `explain` for `chappe.toml`.

use std::fmt::Write as _;

use gateway::{Options, Route};

use super::request::ExplainedRequest;

/// One line for each route, the longest path first: the order in which they are tried.
pub(super) fn list(gateways: &[(String, Options)]) -> String {
    let mut text = String::new();
    for (name, options) in gateways {
        let _ = writeln!(text, "{name}:");
        let mut routes: Vec<&Route> = options.routes.iter().collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.path.trim_end_matches('/').len()));
        let width = routes.iter().map(|route| route.path.len()).max().unwrap_or_default();
        for route in routes {
            let _ = writeln!(text, "  {:width$}  {}", route.path, target(route));
        }
    }
    text
}

/// What each gateway does with the request.
pub(super) fn explain(gateways: &[(String, Options)], request: &ExplainedRequest) -> String {
    let path = request.target.split('?').next().unwrap_or_default();
    let mut text = String::new();
    for (name, options) in gateways {
        let _ = writeln!(text, "{name}: {} {}", request.method, request.target);
        let Some((route, rest)) = options.route_of(path) else {
            text.push_str("  no route: 404 gateway-no-route\n");
            continue;
        };
        let _ = writeln!(text, "  route: {} -> {}", route.path, target(route));
        text.push_str("  why:   the longest path that covers the request in complete segments\n");
        let _ = match &route.directory {
            Some(_) => writeln!(text, "  sends: the file {rest:?} of that folder"),
            None => {
                writeln!(text, "  sends: {} {} to the service, unchanged", request.method, request.target)
            }
        };
    }
    text
}

fn target(route: &Route) -> String {
    match (&route.service, &route.directory) {
        (Some(service), _) => format!("service {service}"),
        (None, Some(folder)) => format!("folder {}", folder.display()),
        (None, None) => "nothing".to_owned(),
    }
}
