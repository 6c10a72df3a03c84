use expect_test::{Expect, expect};
use serde_json::json;
use worker_protocol::FunctionId;

use super::*;

/// Declares a function with these bindings.
fn declared(name: &str, bindings: &[Json]) -> Result<Declaration, FunctionError> {
    let settings = MergedSettings::from_pairs(
        "host",
        [("EVERY", "*/5 * * * * *"), ("AzureWebJobs.off.Disabled", "true"), ("HUB", "board")],
    );
    let kinds = [("queueTrigger".to_owned(), Direction::In), ("queue".to_owned(), Direction::Out)];
    let rules = DeclarationRules {
        settings: &settings,
        kinds: &kinds,
        is_pushed: &|kind| kind.eq_ignore_ascii_case("pushTrigger"),
        route_prefix: "api",
        retry: None,
        zone: &TimeZone::UTC,
    };
    let metadata = FunctionMetadata {
        name: name.to_owned(),
        function_id: FunctionId::new("1"),
        raw_bindings: bindings.iter().map(Json::to_string).collect(),
        ..FunctionMetadata::default()
    };
    declare(metadata, &rules)
}

/// Compares the declaration of a function with these bindings, or its error, as text.
fn check(name: &str, bindings: &[Json], expected: Expect) {
    let text = match declared(name, bindings) {
        Ok(declaration) => {
            let trigger = match &declaration.trigger {
                Trigger::Http(http) => {
                    format!("http {:?} {:?} {}", http.auth_level, http.methods, http.template.source())
                }
                Trigger::Timer(timer) => format!("timer {}", timer.schedule_text),
                Trigger::Manual => "manual".to_owned(),
                Trigger::Push => "push".to_owned(),
                Trigger::Source => {
                    format!("source {:?}", declaration.trigger_spec.spec.properties.get("queueName"))
                }
            };
            let outputs: Vec<_> =
                declaration.outputs.iter().map(|output| output.spec.name.as_str()).collect();
            format!(
                "{trigger} / http output {:?} / outputs {outputs:?} / disabled {}",
                declaration.http_output, declaration.is_disabled
            )
        }
        Err(why) => why.text,
    };
    expected.assert_eq(&text);
}

fn http() -> Json {
    json!({"type": "httpTrigger", "name": "req", "direction": "in"})
}

#[test]
fn keys_and_values_of_bindings_are_matched_without_regard_to_case() {
    check(
        "f",
        &[
            json!({"Type": "HTTPTRIGGER", "Name": "req", "Direction": "IN", "AuthLevel": "ANONYMOUS", "Methods": ["get"], "Route": "/a/{b}"}),
            json!({"type": "http", "name": "$return", "direction": "OUT"}),
        ],
        expect![[
            r#"http Anonymous [GET] api/a/{b} / http output Some("$return") / outputs [] / disabled false"#
        ]],
    );
    check("f", &[http()], expect!["http Function [] api/f / http output None / outputs [] / disabled false"]);
    check(
        "off",
        &[http()],
        expect!["http Function [] api/off / http output None / outputs [] / disabled true"],
    );
}

#[test]
fn settings_are_resolved() {
    check(
        "f",
        &[json!({"type": "timerTrigger", "name": "t", "direction": "in", "schedule": "%EVERY%"})],
        expect!["timer */5 * * * * * / http output None / outputs [] / disabled false"],
    );
    check(
        "f",
        &[
            json!({"type": "queueTrigger", "name": "t", "direction": "in", "queueName": "%HUB%-in"}),
            json!({"type": "queue", "name": "out", "direction": "out", "queueName": "{id}"}),
        ],
        expect![[r#"source Some(String("board-in")) / http output None / outputs ["out"] / disabled false"#]],
    );
    check(
        "f",
        &[json!({"type": "queueTrigger", "name": "t", "direction": "in", "queueName": "%NOPE%"})],
        expect![
            "the binding 't' cannot be used: %NOPE% does not resolve to a value: there is no app setting NOPE; add it to local.settings.json (Values) or to the environment"
        ],
    );
}

#[test]
fn an_invalid_declaration_is_reported_with_what_is_wrong() {
    check("f", &[], expect!["it has no bindings; a function has at least a trigger"]);
    check(
        "1f",
        &[http()],
        expect![
            "'1f' is not a valid function name: it must start with a letter, have at most 128 letters, digits, '_' and '-', and is not 'host'"
        ],
    );
    check("f", &[http(), http()], expect!["two bindings are named 'req'; each needs a name of its own"]);
    check(
        "f",
        &[json!({"type": "queue", "name": "q", "direction": "out"})],
        expect!["it has no trigger; one binding's type must end in 'Trigger'"],
    );
    check(
        "f",
        &[http(), json!({"type": "queueTrigger", "name": "q", "direction": "in"})],
        expect!["it has 2 triggers; a function has exactly one"],
    );
    check(
        "f",
        &[http(), json!({"type": "queue", "name": "q", "direction": "inout"})],
        expect!["the binding 'q' has direction inout, which is not supported; use in or out"],
    );
    check(
        "f",
        &[http(), json!({"type": "kafka", "name": "k", "direction": "out"})],
        expect![
            "the binding 'k' has type 'kafka' (out), which is not supported; use one of httpTrigger (in), timerTrigger (in), manualTrigger (in), http (out), queueTrigger (in), queue (out)"
        ],
    );
    check(
        "f",
        &[http(), json!({"type": "queue", "name": "q", "direction": "out", "queueName": "a{b"})],
        expect![[
            r#"the binding 'q' cannot be used: "a{b" is not a valid binding expression: a '{' is not closed; write {{ for a brace"#
        ]],
    );
    check(
        "f",
        &[json!({"type": "timerTrigger", "name": "t", "direction": "in", "schedule": "often"})],
        expect![
            "the schedule \"often\" is neither a cron expression ({second} {minute} {hour} {day} {month} {day of week}) nor a time span (hh:mm:ss): it has 1 fields, not 6 (or 5, without seconds)"
        ],
    );
    check(
        "f",
        &[json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "some"})],
        expect!["unknown authLevel 'some'; use anonymous, function or admin"],
    );
    check(
        "f",
        &[json!({"type": "httpTrigger", "name": "req", "direction": "in", "route": "{a:color}"})],
        expect![[
            r#"the route "api/{a:color}" is not valid: 'color' is not a known constraint; use one of int, long, bool, datetime, decimal, double, float, guid, alpha, required, file, nonfile, length, minlength, maxlength, min, max, range, regex"#
        ]],
    );
}

#[test]
fn an_invalid_declaration_has_the_code_of_its_error() {
    let timer = |schedule: &str| json!({"type": "timerTrigger", "name": "t", "direction": "in", "schedule": schedule});
    let with = |property: &str, value: Json| {
        let mut trigger = http();
        trigger[property] = value;
        trigger
    };
    for (bindings, code) in [
        (vec![], "functions-trigger-count"),
        (vec![http(), http()], "functions-malformed-binding"),
        (
            vec![http(), json!({"type": "kafka", "name": "k", "direction": "out"})],
            "functions-unknown-binding-type",
        ),
        (vec![with("authLevel", json!("some"))], "functions-invalid-http-trigger"),
        (vec![with("methods", json!(["no method"]))], "functions-invalid-http-trigger"),
        (vec![with("route", json!("{a"))], "functions-invalid-route"),
        (vec![with("route", json!("admin/x"))], "functions-invalid-route"),
        (vec![timer("often")], "functions-invalid-schedule"),
        (vec![timer("%MISSING%")], "functions-unusable-binding"),
    ] {
        let error = declared("f", &bindings).expect_err("the declaration is invalid");
        assert_eq!(error.description.code, code, "{error}");
    }
    assert_eq!(
        declared("1f", &[http()]).expect_err("an invalid name").description.code,
        "functions-invalid-name"
    );
}
