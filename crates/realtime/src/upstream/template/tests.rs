use expect_test::{Expect, expect};

use super::*;

fn template(url: &str) -> TemplateOptions {
    TemplateOptions { url_template: url.to_owned(), ..TemplateOptions::default() }
}

fn patterns(hub: &str, category: &str, event: &str) -> TemplateOptions {
    TemplateOptions {
        hub_pattern: hub.to_owned(),
        category_pattern: category.to_owned(),
        event_pattern: event.to_owned(),
        ..template("http://host/")
    }
}

/// Checks the error for the second of two templates.
fn check(options: TemplateOptions, expected: Expect) {
    let good = template("http://host/");
    let error = UpstreamTemplates::compile(&[good, options], false).unwrap_err();
    expected.assert_eq(&error.to_string());
}

#[test]
fn the_first_template_whose_patterns_all_match_gets_the_event() {
    let templates = [
        patterns("Chat", "connections", "*"),
        patterns("chat, news", "*", "send , connected"),
        patterns("a,*", "messages", "*"),
    ];
    let templates = UpstreamTemplates::compile(&templates, false).unwrap();
    let check = |hub, category, event, expected: Option<usize>| {
        let found = templates.find(hub, category, event);
        let number = found.map(|found| templates.0.iter().position(|one| std::ptr::eq(one, found)).unwrap());
        assert_eq!(number, expected, "{hub} {category:?} {event}");
    };
    check("chat", Category::Connections, "connected", Some(0));
    check("chat", Category::Messages, "send", Some(1));
    check("news", Category::Connections, "connected", Some(1));
    check("news", Category::Connections, "disconnected", None);
    check("news", Category::Messages, "Send", Some(2));
    check("other", Category::Messages, "send", Some(2));
    check("other", Category::Connections, "connected", None);
}

#[test]
fn parameters_are_escaped_into_the_address() {
    let check = |url, hub, event, expected: Result<&str, AddressError>| {
        let templates = UpstreamTemplates::compile(&[template(url)], false).unwrap();
        let address = templates.0[0].address(hub, Category::Messages, event);
        assert_eq!(address.map(|uri| uri.to_string()), expected.map(str::to_owned));
    };
    check(
        "http://host.com/{hub}/api/{category}/{event}?code=k%3D",
        "chat",
        "broadcast",
        Ok("http://host.com/chat/api/messages/broadcast?code=k%3D"),
    );
    check("https://h/{event}", "c", "a/b?c#d%ä -._~", Ok("https://h/a%2Fb%3Fc%23d%25%C3%A4%20-._~"));
    check("http://h/?e={event}", "c", "a&b=c", Ok("http://h/?e=a%26b%3Dc"));
    check("http://{hub}.h/x", "chat", "e", Ok("http://chat.h/x"));
    check("http://h/{event}", "c", "..", Err(AddressError::DotEvent));
    check("http://h/x", "c", "..", Ok("http://h/x"));
    check("http://h/{event}", "c", &"e".repeat(70_000), Err(AddressError::TooLong));
}

#[test]
fn an_invalid_template_is_refused_with_what_to_write_instead() {
    check(
        template(""),
        expect![
            "upstream template 2: it has no url_template; write for example http://localhost:7071/runtime/webhooks/signalr"
        ],
    );
    check(
        template("{@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/url)}"),
        expect![
            "upstream template 2: secrets of Key Vault ({@Microsoft.KeyVault(...)}) are not supported; write the value itself, for example into the environment variable CHAPPE_REALTIME__UPSTREAM__TEMPLATES"
        ],
    );
    check(
        template("http://h/{user}"),
        expect![
            "upstream template 2: `{user}` is not a parameter of url_template; use {hub}, {category} or {event}"
        ],
    );
    check(
        template("http://h/{hub"),
        expect!["upstream template 2: a brace in url_template is not closed; write %7B for a literal brace"],
    );
    check(
        template("/api/{hub}"),
        expect!["upstream template 2: `/api/hub` is not an absolute http or https address"],
    );
    check(
        template("ftp://h/?code=hidden"),
        expect!["upstream template 2: `ftp://h/` is not an absolute http or https address"],
    );
    check(
        template("http://{event}/"),
        expect![
            "upstream template 2: {event} is in the host of url_template, and clients choose the event; put it into the path"
        ],
    );
    check(
        template("http://a:b@h/"),
        expect![
            "upstream template 2: url_template must not contain a user name or a password; put a key into its query instead"
        ],
    );
    check(
        patterns("a,,b", "*", "*"),
        expect!["upstream template 2: hub_pattern has an empty value; write * for all"],
    );
    check(
        patterns("*", "message", "*"),
        expect![
            "upstream template 2: category_pattern has `message`, which is not a category; use connections or messages"
        ],
    );
}

#[test]
fn managed_identity_needs_a_resource_and_an_identity_endpoint() {
    check(
        TemplateOptions { auth: Auth::ManagedIdentity, ..template("http://h/") },
        expect![
            "upstream template 2: auth managed_identity needs auth_resource, the resource of the token, such as api://my-app"
        ],
    );
    let resource = Some("api://app".to_owned());
    check(
        TemplateOptions {
            auth: Auth::ManagedIdentity,
            auth_resource: resource.clone(),
            ..template("http://h/")
        },
        expect![
            "upstream template 2: auth managed_identity needs an identity endpoint: set identity_endpoint and identity_header, or the variables IDENTITY_ENDPOINT and IDENTITY_HEADER"
        ],
    );
    check(
        TemplateOptions { auth_resource: resource, ..template("http://h/") },
        expect![
            "upstream template 2: auth_resource is set, but auth is not managed_identity; remove it or set auth"
        ],
    );
}

#[test]
fn logs_do_not_show_the_query_of_a_url() {
    let options = template("http://h/x?code=hidden");
    let templates = UpstreamTemplates::compile([&options], false).unwrap();
    assert!(!format!("{options:?} {templates:?}").contains("hidden"));
}
