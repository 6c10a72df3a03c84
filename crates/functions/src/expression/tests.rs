use std::time::{Duration, UNIX_EPOCH};

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::app::MergedSettings;

fn check(template: &str, expected: Expect) {
    let Json::Object(data) = json!({
        "id": 7, "Name": "ann", "data": {"Url": "http://x/", "list": ["a", "b"]}, "empty": null,
        "headers": {"x-user": "bob"}, "query": {"q": "1"}, "when": "2026-03-04T05:06:07Z"
    }) else {
        panic!("not an object")
    };
    let system = SystemValues {
        function: "todo",
        now: UNIX_EPOCH + Duration::from_millis(1_772_600_767_089),
        guid: || uuid::Uuid::from_u128(0x0123_4567_89ab_4cde_8f01_2345_6789_abcd),
    };
    let text = match ExpressionTemplate::compile(template) {
        Ok(template) => template.resolve(&data, &system).unwrap_or_else(|error| error.to_string()),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&text);
}

#[test]
fn expressions_find_binding_data_without_regard_to_case() {
    check("todos/{ID}-{name}.txt", expect!["todos/7-ann.txt"]);
    check("{data.url}{data.list.1}", expect!["http://x/b"]);
    check("{Headers.X-User}/{Query.q}/{empty}", expect!["bob/1/"]);
}

#[test]
fn built_in_expression_names_have_values() {
    check("{rand-guid}", expect!["01234567-89ab-4cde-8f01-23456789abcd"]);
    check("{rand-guid:N}", expect!["0123456789ab4cde8f0123456789abcd"]);
    check("{sys.randguid} {sys.MethodName}", expect!["01234567-89ab-4cde-8f01-23456789abcd todo"]);
    check("{DateTime}", expect!["2026-03-04T05-06-07Z"]);
    check("{datetime:yyyy/MM/dd HH:mm:ss.fff ddd d MMM tt}", expect!["2026/03/04 05:06:07.089 Wed 4 Mar AM"]);
    check("{sys.utcnow:o}", expect!["2026-03-04T05:06:07.0890000Z"]);
    check("{when:dd.MM.yy}", expect!["04.03.26"]);
}

#[test]
fn an_expression_without_a_value_is_an_error_with_its_name() {
    check("a/{who}", expect![[r#"no value for {who} in "a/{who}": the trigger provides no 'who'"#]]);
    check(
        "{data.nope}",
        expect![[r#"no value for {data.nope} in "{data.nope}": there is no property 'nope'"#]],
    );
    check(
        "{rand-guid:Q}",
        expect![[
            r#"no value for {rand-guid} in "{rand-guid:Q}": 'Q' is not a GUID format; use one of D, N, B, P"#
        ]],
    );
}

#[test]
fn doubled_braces_are_literal() {
    check("{{x}} {id}", expect!["{x} 7"]);
    check(
        "{id",
        expect![[r#""{id" is not a valid binding expression: a '{' is not closed; write {{ for a brace"#]],
    );
    check(
        "id}",
        expect![[
            r#""id}" is not a valid binding expression: a '}' has no '{' before it; write }} for a brace"#
        ]],
    );
    check(
        "{a..b}",
        expect![[
            r#""{a..b}" is not a valid binding expression: an expression is a name, or names joined by dots"#
        ]],
    );
}

#[test]
fn settings_are_replaced_and_a_missing_one_is_an_error_with_its_name() {
    let settings = MergedSettings::from_pairs("host", [("hub", "board"), ("A", "1")]);
    assert_eq!(resolve_settings("%hub%-%A%%A%", &settings).as_deref(), Ok("board-11"));
    assert_eq!(resolve_settings("100% and 5%%", &settings).expect_err("a name").name, " and 5");
    assert_eq!(resolve_settings("100%", &settings).as_deref(), Ok("100%"));
    let error = resolve_settings("%nope%", &settings).expect_err("not set");
    expect!["%nope% does not resolve to a value: there is no app setting nope; add it to local.settings.json (Values) or to the environment"]
        .assert_eq(&error.to_string());
}
