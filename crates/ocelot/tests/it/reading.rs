//! Files, merging, notices and problems.

use ocelot::{ConfigurationFile, OcelotConfiguration, OcelotNotice, Surroundings};

fn file(name: &str, text: &str) -> ConfigurationFile {
    ConfigurationFile { name: name.to_owned(), text: text.to_owned() }
}

fn read(text: &str) -> OcelotConfiguration {
    OcelotConfiguration::read(&[file("ocelot.json", text)]).expect("the configuration can be read")
}

fn problems(text: &str) -> Vec<String> {
    let problems = read(text).problems(&Surroundings::default());
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn split_files_are_merged_and_the_global_configuration_comes_from_its_own_file() {
    let files = [
        file("ocelot.global.json", r#"{"GlobalConfiguration": {"BaseUrl": "https://a.test"}}"#),
        file(
            "ocelot.orders.json",
            r#"{"Routes": [{"UpstreamPathTemplate": "/o"}], "GlobalConfiguration": {"BaseUrl": "https://b.test"}}"#,
        ),
        file("ocelot.users.json", r#"{"routes": [{"UpstreamPathTemplate": "/u"}], "Aggregates": []}"#),
    ];
    let configuration = OcelotConfiguration::read(&files).expect("the files can be read");
    let templates: Vec<_> =
        configuration.routes.iter().filter_map(|route| route.upstream_path_template.as_deref()).collect();
    assert_eq!(templates, ["/o", "/u"]);
    assert_eq!(configuration.routes[1].location.file, "ocelot.users.json");
    assert_eq!(configuration.global.base_url.as_deref(), Some("https://a.test"));
    let notices: Vec<_> = configuration.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "ocelot.orders.json: GlobalConfiguration: no effect: with split files it is read from ocelot.global.json only; move it there"
        ]
    );
}

#[test]
fn only_names_with_two_dots_are_parts() {
    for (name, expected) in [
        ("ocelot.orders.json", true),
        ("Ocelot.Orders.JSON", true),
        ("ocelot.json", false),
        ("ocelot.orders.yaml", false),
        ("other.json", false),
    ] {
        assert_eq!(ConfigurationFile::is_part(name), expected, "{name}");
    }
}

#[test]
fn old_unknown_and_unenforced_properties_are_kept_and_named_with_file_route_and_property() {
    let configuration = read(
        r#"{
            // The name of versions before 15.
            "ReRoutes": [{
                "UpstreamPathTemplate": "/a",
                "ReRouteIsCaseSensitive": "true",
                "QoSOptions": {"TimeoutValue": 500, "Other": 1},
                "Whatever": {"a": 1},
            }],
            "Swagger": []
        }"#,
    );
    assert!(configuration.routes[0].route_is_case_sensitive);
    assert!(configuration.routes[0].properties.contains_key("Whatever"));
    let notices: Vec<_> = configuration.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "ocelot.json: Swagger: unknown property; it has no effect",
            "ocelot.json: Routes[0] (/a): ReRouteIsCaseSensitive: old name of RouteIsCaseSensitive; it is read, but write RouteIsCaseSensitive",
            "ocelot.json: Routes[0] (/a): QoSOptions: this policy is not enforced yet",
            "ocelot.json: Routes[0] (/a): QoSOptions.TimeoutValue: old name of Timeout; it is read, but write Timeout",
            "ocelot.json: Routes[0] (/a): QoSOptions.Other: unknown property; it has no effect",
            "ocelot.json: Routes[0] (/a): Whatever: unknown property; it has no effect",
        ]
    );
    assert!(matches!(configuration.notices[0], OcelotNotice::Unknown(_)));
}

#[test]
fn every_problem_names_file_route_and_property() {
    let found = problems(
        r#"{"Routes": [
            {"UpstreamPathTemplate": "/{x}/{x}", "DownstreamPathTemplate": "a//b", "Priority": "high"},
            {"UpstreamPathTemplate": "/b", "DownstreamPathTemplate": "/", "DownstreamHostAndPorts": [{"Host": " ", "Port": 1}],
             "RateLimitOptions": {"Limit": 1, "Period": "500"}, "UpstreamHttpMethod": [""]}
        ]}"#,
    );
    assert_eq!(
        found,
        [
            "ocelot.json: Routes[0] (/{x}/{x}): Priority: must be a whole number, not \"high\"",
            "ocelot.json: Routes[0] (/{x}/{x}): UpstreamPathTemplate: \"/{x}/{x}\" has the placeholder {x} twice",
            "ocelot.json: Routes[0] (/{x}/{x}): DownstreamPathTemplate: \"a//b\" must start with '/'",
            "ocelot.json: Routes[0] (/{x}/{x}): DownstreamPathTemplate: \"a//b\" contains '//'; write one slash",
            "ocelot.json: Routes[0] (/{x}/{x}): DownstreamHostAndPorts: is empty; name a host and its port, or a ServiceName with service discovery",
            "ocelot.json: Routes[1] (/b): DownstreamHostAndPorts[0].Host: is empty; write a name or an address",
            "ocelot.json: Routes[1] (/b): UpstreamHttpMethod: \"\" is not an HTTP method, such as \"GET\"",
            "ocelot.json: Routes[1] (/b): RateLimitOptions.Period: \"500\" is no period; write a number and ms, s, m, h or d, such as \"1m\"",
        ]
    );
}

#[test]
fn a_file_that_is_no_json_object_is_named() {
    let error =
        |text| OcelotConfiguration::read(&[file("ocelot.json", text)]).expect_err("it cannot be read");
    assert!(error("{\n \"Routes\": [}").to_string().starts_with("ocelot.json is not valid JSON: "));
    assert!(error("[]").to_string().starts_with("ocelot.json must hold one JSON object"));
    assert!(OcelotConfiguration::read(&[]).is_err());
}
