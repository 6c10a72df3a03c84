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
        match Template::parse(template) {
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
fn precedence() {
    let routes = "
        {*rest}
        items/{name}
        items/{id:int}
        items/new
        items/{name}/{sub}
    ";
    check(routes, "GET /items/new", expect!["items/new {}"]);
    check(routes, "GET /ITEMS/New/", expect!["items/new {}"]);
    check(routes, "GET /items/7", expect![[r#"items/{id:int} {"id":7}"#]]);
    check(routes, "GET /items/seven", expect![[r#"items/{name} {"name":"seven"}"#]]);
    check(routes, "GET /items/a/b", expect![[r#"items/{name}/{sub} {"name":"a","sub":"b"}"#]]);
    check(routes, "GET /items/a/b/c%20d", expect![[r#"{*rest} {"rest":"items/a/b/c d"}"#]]);
    check(routes, "GET /", expect!["{*rest} {}"]);
}

#[test]
fn methods_choose_between_equal_routes() {
    let routes = "
        GET cards/{id}
        PUT,POST cards/{id}
    ";
    check(routes, "PUT /cards/1", expect![[r#"PUT,POST cards/{id} {"id":"1"}"#]]);
    check(routes, "DELETE /cards/1", expect!["not found"]);
}

#[test]
fn optional_default_and_compound() {
    check("a/{b?}", "GET /a", expect!["a/{b?} {}"]);
    check("a/{b=1}/{c?}", "GET /a", expect![[r#"a/{b=1}/{c?} {"b":"1"}"#]]);
    check("a/{b}", "GET /a", expect!["not found"]);
    check("f/{name}.{ext}", "GET /f/a.b.c", expect![[r#"f/{name}.{ext} {"name":"a.b","ext":"c"}"#]]);
    check("f/{name}.{ext?}", "GET /f/a", expect![[r#"f/{name}.{ext?} {"name":"a"}"#]]);
    check("v{n:int}-{m}", "GET /v2-x", expect![[r#"v{n:int}-{m} {"n":2,"m":"x"}"#]]);
    check("a/{x}", "GET /a/%E2%82%AC", expect![[r#"a/{x} {"x":"€"}"#]]);
}

#[test]
fn constraints() {
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
    ] {
        let constraint = constraint.replace("\\\\", "\\");
        let template = Template::parse(&format!("{{x:{constraint}}}")).expect("valid");
        assert!(template.matches(&[good]).is_some(), "{constraint} {good}");
        assert!(template.matches(&[bad]).is_none(), "{constraint} {bad}");
    }
}

#[test]
fn what_is_wrong_with_a_template_is_named() {
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
