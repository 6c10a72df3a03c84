use std::error::Error as _;

use super::*;

fn shown(text: &str) -> String {
    match parse(text) {
        Ok(parsed) => format!("{:?} {:?}", parsed.templates, parsed.ignored),
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        }
    }
}

fn full(url: &str) -> TemplateOptions {
    TemplateOptions {
        url_template: url.to_owned(),
        hub_pattern: "chat".to_owned(),
        category_pattern: "connections, messages".to_owned(),
        event_pattern: "*".to_owned(),
        auth: Auth::ManagedIdentity,
        auth_resource: Some("api://app".to_owned()),
    }
}

#[test]
fn the_emulators_settings_are_read() {
    let text = "\u{feff}{\"UpstreamSettings\": {\"Templates\": [
        {\"UrlTemplate\": \"http://localhost:7071/runtime/webhooks/signalr\", \"EventPattern\": \"*\",
         \"HubPattern\": \"*\", \"CategoryPattern\": null, \"Name\": \"mine\"},
        {\"UrlTemplate\": \"http://a/\", \"HubPattern\": \"chat\", \"CategoryPattern\": \"connections, messages\",
         \"Auth\": {\"Type\": \"ManagedIdentity\", \"ManagedIdentity\": {\"Resource\": \"api://app\"}}}
    ]}}";
    let first = TemplateOptions {
        url_template: "http://localhost:7071/runtime/webhooks/signalr".to_owned(),
        ..TemplateOptions::default()
    };
    let expected =
        Parsed { templates: vec![first, full("http://a/")], ignored: vec!["template 1: Name".to_owned()] };
    assert_eq!(parse(text).unwrap(), expected);
}

/// As the emulator's documentation shows it, with comments of the user.
#[test]
fn comments_and_trailing_commas_in_the_emulators_settings_are_read() {
    let text = r#"{
        // the app
        "UpstreamSettings": {
            "Templates": [
                {
                    "UrlTemplate": "http://localhost:7071/runtime/webhooks/signalr", // not https://
                    /* "HubPattern": "chat",
                       "EventPattern": "*", */
                    "EventPattern": "a, /* b */",
                },
            ]
        },
    }"#;
    let expected = TemplateOptions {
        url_template: "http://localhost:7071/runtime/webhooks/signalr".to_owned(),
        event_pattern: "a, /* b */".to_owned(),
        ..TemplateOptions::default()
    };
    assert_eq!(parse(text).unwrap(), Parsed { templates: vec![expected], ignored: Vec::new() });
}

#[test]
fn arm_templates_are_read_in_every_nesting() {
    let template = r#"{"urlTemplate":"http://a/","hubPattern":"chat","categoryPattern":"connections, messages",
        "auth":{"type":"ManagedIdentity","managedIdentity":{"resource":"api://app"}}}"#;
    let properties = format!(r#"{{"properties":{{"upstream":{{"templates":[{template}]}}}}}}"#);
    let resource = format!(
        r#"{{"resources":[{{"type":"Microsoft.Web/sites"}},{{"type":"microsoft.signalrservice/SignalR",{}]}}"#,
        &properties[1..]
    );
    let upstream = format!(r#"{{"upstream":{{"templates":[{template}]}}}}"#);
    for text in [properties, resource, upstream, format!(r#"{{"templates":[{template}]}}"#)] {
        let expected = Parsed { templates: vec![full("http://a/")], ignored: Vec::new() };
        assert_eq!(parse(&text).unwrap(), expected, "{text}");
    }
}

#[test]
fn a_file_without_templates_is_refused_and_the_error_names_what_is_missing() {
    let check = |text, expected: &str| assert!(shown(text).starts_with(expected), "{}", shown(text));
    check("{", "it is not JSON: EOF");
    check("{ /* no end }", "it is not JSON: key must be a string at line 1 column 3");
    check("{\"templates\":[,]}", "it is not JSON: expected value at line 1 column 15");
    check("{}", "it has no templates: neither UpstreamSettings.Templates");
    check(r#"{"UpstreamSettings":{"Templates":{}}}"#, "it has no templates");
    check(r#"{"templates":[1]}"#, "template 1: itself must be an object");
    check(r#"{"templates":[{"urlTemplate":1}]}"#, "template 1: urlTemplate must be a text");
    check(
        r#"{"templates":[{},{"auth":{"type":"Basic"}}]}"#,
        "template 2: auth must be an object whose type is None or ManagedIdentity",
    );
}
