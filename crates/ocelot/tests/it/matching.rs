//! What recordings do not show: deliberate differences, and the cost of many routes.

use http::{HeaderMap, HeaderValue};
use ocelot::{ConfigurationFile, IncomingRequest, OcelotConfiguration, OcelotDecision, OcelotRouter};
use proptest::prelude::*;
use serde_json::{Value, json};

fn router(configuration: &Value) -> OcelotRouter {
    let file = ConfigurationFile { name: "ocelot.json".to_owned(), text: configuration.to_string() };
    let configuration = OcelotConfiguration::read(&[file]).expect("the configuration can be read");
    OcelotRouter::compile(&configuration).expect("the templates can be compiled")
}

fn route(upstream: &str, downstream: &str) -> Value {
    json!({
        "UpstreamPathTemplate": upstream,
        "DownstreamPathTemplate": downstream,
        "DownstreamScheme": "http",
        "DownstreamHostAndPorts": [{"Host": "127.0.0.1", "Port": 81}],
    })
}

/// The target that goes downstream, or the status of a rejection.
fn target(router: &OcelotRouter, target: &str, headers: &[(&'static str, &str)]) -> Result<String, u16> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).expect("the value is valid"));
    }
    match router.decide(&IncomingRequest { method: "GET", target, host: "gw.test", headers: &map }) {
        OcelotDecision::Forward(forward) => Ok(forward.target),
        OcelotDecision::Dynamic(forward) => Ok(format!("{}:{}", forward.service, forward.target)),
        OcelotDecision::Reject(rejection) => Err(rejection.status()),
        OcelotDecision::Aggregate { .. } => panic!("there is no aggregate"),
    }
}

#[test]
fn no_value_leaves_the_folder_of_the_downstream_template() {
    let mut by_header = route("/h", "/tenants/{tenant}/x");
    by_header["UpstreamHeaderTemplates"] = json!({"X-Tenant": "{header:tenant}"});
    let routes = [route("/files/{path}", "/public/{path}"), route("/q?f={f}", "/public/{f}"), by_header];
    let router = router(&json!({"Routes": routes}));
    assert_eq!(target(&router, "/files/a/b", &[]).as_deref(), Ok("/public/a/b"));
    assert_eq!(target(&router, "/files/%252e%252e/secret", &[]), Err(400));
    assert_eq!(target(&router, "/q?f=../secret", &[]), Err(400));
    assert_eq!(target(&router, "/q?f=%2e%2e/secret", &[]), Err(400));
    assert_eq!(target(&router, "/h", &[("x-tenant", "7")]).as_deref(), Ok("/tenants/7/x"));
    assert_eq!(target(&router, "/h", &[("x-tenant", "..")]), Err(400));
    assert_eq!(target(&router, "/h", &[("x-tenant", "a?b#c")]).as_deref(), Ok("/tenants/a%3Fb%23c/x"));
}

#[test]
fn a_header_value_adds_no_parameter_and_no_placeholder() {
    let mut by_header = route("/h", "/x?lang={lang}&kind={kind}");
    by_header["UpstreamHeaderTemplates"] = json!({"X-A": "{header:lang}", "X-B": "{header:kind}"});
    let router = router(&json!({"Routes": [by_header]}));
    let headers = [("x-a", "de&admin=1{kind}"), ("x-b", "k")];
    assert_eq!(target(&router, "/h", &headers).as_deref(), Ok("/x?lang=de%26admin=1%7Bkind%7D&kind=k"));
}

#[test]
fn services_are_found_by_name_with_the_path_of_each_request() {
    let discovery = json!({"ServiceDiscoveryProvider": {"Type": "Consul", "Host": "c", "Port": 8500}});
    let all = router(&json!({"GlobalConfiguration": discovery}));
    assert_eq!(target(&all, "/svc/first/x?q=1", &[]).as_deref(), Ok("svc:/first/x?q=1"));
    assert_eq!(target(&all, "/svc/second", &[]).as_deref(), Ok("svc:/second"));
    assert_eq!(target(&all, "/svc", &[]).as_deref(), Ok("svc:/"));
    assert_eq!(target(&all, "/", &[]), Err(404));
    let mixed = router(&json!({
        "Routes": [route("/a", "/a")],
        "DynamicRoutes": [{"ServiceName": "svc"}],
        "GlobalConfiguration": discovery,
    }));
    assert_eq!(target(&mixed, "/a", &[]).as_deref(), Ok("/a"));
    assert_eq!(target(&mixed, "/svc/x", &[]).as_deref(), Ok("svc:/x"));
    assert_eq!(target(&mixed, "/other/x", &[]), Err(404));
}

#[test]
fn an_expression_with_a_back_reference_matches_and_an_invalid_one_is_refused() {
    let router = router(&json!({"Routes": [route("/v1/([a-z])-\\1", "/x")]}));
    assert_eq!(target(&router, "/v1/a-a", &[]).as_deref(), Ok("/x"));
    assert_eq!(target(&router, "/v1/a-b", &[]), Err(404));
    let broken = json!({"Routes": [route("/a(b", "/x")]}).to_string();
    let file = ConfigurationFile { name: "ocelot.json".to_owned(), text: broken };
    let configuration = OcelotConfiguration::read(&[file]).expect("the configuration can be read");
    let problems = OcelotRouter::compile(&configuration).expect_err("the template is no expression");
    assert!(problems[0].to_string().starts_with("ocelot.json: Routes[0] (/a(b): UpstreamPathTemplate: "));
}

/// The index must not change which route wins: the same as comparing the routes one after the other.
fn first_match(templates: &[String], path: &str) -> Result<String, u16> {
    for (number, template) in templates.iter().enumerate() {
        let downstream = format!("/route{number}");
        let single = router(&json!({"Routes": [route(template, &downstream)]}));
        if let Ok(target) = target(&single, path, &[]) {
            return Ok(target);
        }
    }
    Err(404)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_index_returns_the_first_matching_route(
        templates in proptest::collection::vec("(/(a|b|A|\\{x\\}|\\{y\\}|a\\{z\\}|a\\.b)){1,3}/?", 1..8),
        path in "(/(a|b|B|ab|aXb|)){1,4}",
    ) {
        // A template may have each placeholder once, and `/{x}` alone has another priority.
        let templates: Vec<String> = templates
            .into_iter()
            .filter(|template| ["{x}", "{y}", "{z}"].iter().all(|name| template.matches(name).count() < 2))
            .filter(|template| !matches!(template.as_str(), "/{x}" | "/{y}"))
            .collect();
        let routes: Vec<Value> = templates
            .iter()
            .enumerate()
            .map(|(number, template)| route(template, &format!("/route{number}")))
            .collect();
        let all = router(&json!({"Routes": routes}));
        prop_assert_eq!(target(&all, &path, &[]), first_match(&templates, &path));
    }
}
