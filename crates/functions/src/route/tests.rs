use expect_test::{Expect, expect};
use http::Method;

use super::*;

/// Routes are lines of `[METHODS ]template`; what is found is `template name=value …`.
fn check(routes: &str, request: &str, expected: Expect) {
    let mut entries = Vec::new();
    for line in routes.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (methods, template) = match line.split_once(' ') {
            Some((methods, template)) => {
                (methods.split(',').map(|m| m.parse().expect("a method")).collect(), template)
            }
            None => (Vec::new(), line),
        };
        match RouteTemplate::parse(template) {
            Ok(template) => entries.push((template, methods, line.to_owned())),
            Err(error) => return expected.assert_eq(&error.to_string()),
        }
    }
    let table = RouteTable::new(entries);
    let (method, path) = request.split_once(' ').expect("a method and a path");
    let method: Method = method.parse().expect("a method");
    let found = table.find(&method, path).map_or_else(
        || "not found".to_owned(),
        |routed| {
            let typed = Json::Object(routed.template.typed(&routed.values)).to_string();
            format!("{} {typed}", routed.target)
        },
    );
    expected.assert_eq(&found);
}

#[test]
fn the_first_matching_route_is_chosen() {
    let routes = "
        items/{name:alpha}
        items/{any}
        items/new
        items/{name}/{sub}
        {*rest}
    ";
    check(routes, "GET /items/new", expect![[r#"items/{name:alpha} {"name":"new"}"#]]);
    check(routes, "GET /ITEMS/7/", expect![[r#"items/{any} {"any":"7"}"#]]);
    check(routes, "GET /items/a/b", expect![[r#"items/{name}/{sub} {"name":"a","sub":"b"}"#]]);
    check(routes, "GET /items/a/b/c d/", expect![[r#"{*rest} {"rest":"items/a/b/c d/"}"#]]);
    check(routes, "GET /items/a%2Fb", expect![[r#"items/{any} {"any":"a%2Fb"}"#]]);
    check(routes, "GET /", expect!["{*rest} {}"]);
}

#[test]
fn a_trailing_slash_is_preserved_only_in_a_catch_all() {
    check("a/b", "GET /a/b/", expect!["a/b {}"]);
    check("a/b", "GET /a/b//", expect!["not found"]);
    check("a/b", "GET //a/b", expect!["not found"]);
    check("a/{b?}", "GET /a//", expect!["not found"]);
    check("a/{*rest}", "GET /a/", expect!["a/{*rest} {}"]);
    check("a/{*rest}", "GET /a//", expect!["not found"]);
    check("a/{*rest}", "GET /a/b//", expect![[r#"a/{*rest} {"rest":"b//"}"#]]);
    check("a/{*rest:regex(^b)}", "GET /a", expect!["not found"]);
    check("a/{*rest=z}", "GET /a", expect![[r#"a/{*rest=z} {"rest":"z"}"#]]);
}

#[test]
fn a_more_specific_route_after_a_general_one_is_reported_as_hidden() {
    let table = |routes: &[&str]| {
        let routes: Vec<_> = routes
            .iter()
            .map(|route| (RouteTemplate::parse(route).expect("valid"), Vec::new(), (*route).to_owned()))
            .collect();
        let table = RouteTable::new(routes);
        let pairs: Vec<String> =
            table.hidden().iter().map(|(first, hidden)| format!("{hidden} behind {first}")).collect();
        pairs.join(", ")
    };
    assert_eq!(table(&["a/{x}", "a/new", "b/{x}"]), "a/new behind a/{x}");
    assert_eq!(table(&["a/new", "a/{x}"]), "");
    assert_eq!(table(&["a/{x:int}", "a/new", "a/7"]), "a/7 behind a/{x:int}");
    assert_eq!(table(&["a/{*x}", "a/b/c", "c"]), "a/b/c behind a/{*x}");
    assert_eq!(table(&["a/{x}/{y?}", "a/b", "a/b/c/d"]), "a/b behind a/{x}/{y?}");
}

#[test]
fn equal_routes_are_chosen_by_method() {
    let routes = "
        GET cards/{id}
        PUT,POST cards/{id}
    ";
    check(routes, "PUT /cards/1", expect![[r#"PUT,POST cards/{id} {"id":"1"}"#]]);
    check(routes, "DELETE /cards/1", expect!["not found"]);
}

#[test]
fn optional_default_and_compound_parameters_match() {
    check("a/{b?}", "GET /a", expect!["a/{b?} {}"]);
    check("a/{b=1}/{c?}", "GET /a", expect![[r#"a/{b=1}/{c?} {"b":"1"}"#]]);
    check("a/{b}", "GET /a", expect!["not found"]);
    check("f/{name}.{ext}", "GET /f/a.b.c", expect![[r#"f/{name}.{ext} {"name":"a.b","ext":"c"}"#]]);
    check("f/{name}.{ext?}", "GET /f/a", expect![[r#"f/{name}.{ext?} {"name":"a"}"#]]);
    check("v{n:int}-{m}", "GET /v2-x", expect![[r#"v{n:int}-{m} {"n":2,"m":"x"}"#]]);
    check("f/{name}.{ext?}", "GET /f/a.", expect!["not found"]);
    check("a/{x}", "GET /a/€", expect![[r#"a/{x} {"x":"€"}"#]]);
}

#[test]
fn route_constraints_are_checked_as_by_aspnet() {
    for (constraint, good, bad) in [
        ("int", "-5", "5000000000"),
        ("long", "5000000000", "x"),
        ("bool", "TRUE", "1"),
        ("guid", "0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b"),
        ("alpha", "abc", "a1"),
        ("datetime", "2026-01-31", "2026-13-31"),
        ("decimal", "1.5", "1.5.5"),
        ("double", "1e3", "e"),
        ("length(2)", "ab", "abc"),
        ("length(1,2)", "a", "abc"),
        ("minlength(2)", "ab", "a"),
        ("maxlength(2)", "ab", "abc"),
        ("min(3)", "3", "2"),
        ("max(3)", "3", "4"),
        ("range(1,3)", "2", "4"),
        ("regex(^\\\\d{{2}}$)", "12", "123"),
        ("int:min(3)", "3", "2"),
        ("int", " +5 ", "5.0"),
        ("bool", " true", "yes"),
        ("guid", "{0f8fad5b-d9cb-469f-a165-70867728950e}", "{0f8fad5bd9cb469fa16570867728950e}"),
        ("guid", "0f8fad5bd9cb469fa16570867728950e", "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("datetime", "2016-12-31 7:32pm", "31-12-2016"),
        ("datetime", "10:00", "x"),
        ("decimal", "-1,000.01", "1e5"),
        ("decimal", " 5-", "-5-"),
        ("double", "-1,001.01e8", "1e8e"),
        ("double", "NaN", "inf"),
        ("float", "1e400", "0x1"),
        ("length(3)", "\u{1f600}a", "\u{1f600}"),
        ("regex(^(?!admin)[a-z]+$)", "user", "administrator"),
        ("regex(^(?=.*7)(?<!x)...$)", "a7b", "abc"),
    ] {
        let constraint = constraint.replace("\\\\", "\\");
        let template = RouteTemplate::parse(&format!("{{x:{constraint}}}")).expect("valid");
        assert!(template.matches(&format!("/{good}")).is_some(), "{constraint} {good}");
        assert!(template.matches(&format!("/{bad}")).is_none(), "{constraint} {bad}");
    }
}

#[test]
fn an_invalid_template_is_rejected_with_the_reason() {
    check("a/{b", "GET /", expect![[r#"the route "a/{b" is not valid: a '{' is not closed"#]]);
    check(
        "{b}/{B}",
        "GET /",
        expect![[r#"the route "{b}/{B}" is not valid: the parameter 'b' appears twice"#]],
    );
    check(
        "{*b}/c",
        "GET /",
        expect![[r#"the route "{*b}/c" is not valid: the catch-all '*b' must be the last segment"#]],
    );
    check("a//b", "GET /", expect![[r#"the route "a//b" is not valid: two slashes follow each other"#]]);
    check(
        "{a:min}",
        "GET /",
        expect![[r#"the route "{a:min}" is not valid: the constraint min needs an argument, as in min(1)"#]],
    );
}
