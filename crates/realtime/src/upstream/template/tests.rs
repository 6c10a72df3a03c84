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

/// What is wrong with the second of two templates.
fn check(options: TemplateOptions, expected: Expect) {
    let good = template("http://host/");
    let error = Rules::compile(&[good, options], false).unwrap_err();
    expected.assert_eq(&error.to_string());
}

#[test]
fn the_first_template_whose_patterns_all_match_gets_the_event() {
    let templates = [
        patterns("Chat", "connections", "*"),
        patterns("chat, news", "*", "send , connected"),
        patterns("a,*", "messages", "*"),
    ];
    let rules = Rules::compile(&templates, false).unwrap();
    let check = |hub, category, event, expected: Option<usize>| {
        let found = rules.find(hub, category, event);
        let number = found.map(|found| rules.0.iter().position(|one| std::ptr::eq(one, found)).unwrap());
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
        let rules = Rules::compile(&[template(url)], false).unwrap();
        let address = rules.0[0].address(hub, Category::Messages, event);
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
fn templates_that_cannot_work_are_refused_with_what_to_write() {
    check(
        template(""),
        expect![
            "upstream template 2: it has no url_template; write for example http://localhost:7071/runtime/webhooks/signalr"
        ],
    );
    check(
        template("{@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/url)}"),
        expect![
            "upstream template 2: secrets of Key Vault ({@Microsoft.KeyVault(...)}) cannot be read from here; write the value itself, for example into the environment variable CHAPPE_REALTIME__UPSTREAM__TEMPLATES"
        ],
    );
    check(
        template("http://h/{user}"),
        expect![
            "upstream template 2: `{user}` is no parameter of an address; there are {hub}, {category} and {event}"
        ],
    );
    check(
        template("http://h/{hub"),
        expect!["upstream template 2: a brace in the address is not closed; write %7B for one that is meant"],
    );
    check(
        template("/api/{hub}"),
        expect!["upstream template 2: `/api/hub` is no absolute http or https address"],
    );
    check(
        template("ftp://h/?code=hidden"),
        expect!["upstream template 2: `ftp://h/` is no absolute http or https address"],
    );
    check(
        template("http://{event}/"),
        expect![
            "upstream template 2: {event} stands in the host of the address, and clients choose the event; put it into the path"
        ],
    );
    check(
        template("http://a:b@h/"),
        expect![
            "upstream template 2: an address cannot hold a name and a password; put a key into its query instead"
        ],
    );
    check(
        patterns("a,,b", "*", "*"),
        expect!["upstream template 2: hub_pattern has an empty value; write * for all"],
    );
    check(
        patterns("*", "message", "*"),
        expect![
            "upstream template 2: category_pattern has `message`, which is no category; there are connections and messages"
        ],
    );
}

#[test]
fn an_identity_needs_a_resource_and_somebody_who_gives_tokens() {
    check(
        TemplateOptions { auth: Auth::ManagedIdentity, ..template("http://h/") },
        expect![
            "upstream template 2: a managed identity needs auth_resource: whom its token is for, such as api://my-app"
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
            "upstream template 2: it asks for a managed identity, and nobody gives tokens for one: set identity_endpoint and identity_header, or the variables IDENTITY_ENDPOINT and IDENTITY_HEADER"
        ],
    );
    check(
        TemplateOptions { auth_resource: resource, ..template("http://h/") },
        expect!["upstream template 2: auth_resource is given and auth is not managed_identity"],
    );
}

#[test]
fn logs_do_not_show_the_query_of_an_address() {
    let options = template("http://h/x?code=hidden");
    let rules = Rules::compile([&options], false).unwrap();
    assert!(!format!("{options:?} {rules:?}").contains("hidden"));
}
