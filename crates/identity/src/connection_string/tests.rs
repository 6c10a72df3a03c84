use expect_test::{Expect, expect};

use super::*;

fn check_signalr(text: &str, expected: &Expect) {
    let shown = match SignalRConnectionString::parse(text) {
        Ok(parsed) => {
            let key =
                parsed.access_key().map_or_else(|error| error.to_string(), |key| key.expose().to_owned());
            let (server, client) = (parsed.server_url(), parsed.client_url());
            format!("server {server}, client {client}, audience {}, key {key}", parsed.audience_base())
        }
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&shown);
}

fn check_cosmos(text: &str, expected: &Expect) {
    let shown = match CosmosConnectionString::parse(text) {
        Ok(parsed) => {
            let CosmosConnectionString {
                account_endpoint,
                account_key,
                disable_server_certificate_validation,
            } = parsed;
            format!("{account_endpoint} {} {disable_server_certificate_validation}", account_key.expose())
        }
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn signalr_strings_are_read_as_the_sdks_read_them() {
    check_signalr(
        "Endpoint=http://localhost;Port=8888;AccessKey=ABC=;Version=1.0;",
        &expect![
            "server http://localhost:8888, client http://localhost:8888, audience http://localhost, key ABC="
        ],
    );
    check_signalr(
        " endpoint = https://a.example/ ; ACCESSKEY=k;clientendpoint=https://c.example:444;Unknown=1",
        &expect!["server https://a.example, client https://c.example:444, audience https://a.example, key k"],
    );
    check_signalr(
        "Endpoint=http://[::1]:80;AccessKey=k;Port=9;ServerEndpoint=http://s",
        &expect!["server http://s, client http://[::1]:9, audience http://[::1]:80, key k"],
    );
    check_signalr(
        "Endpoint=https://a;AuthType=azure.msi;ClientId=x",
        &expect![
            "server https://a, client https://a, audience https://a, key AuthType 'azure.msi' in the connection string is not supported; use one with an AccessKey"
        ],
    );
}

#[test]
fn broken_strings_name_the_part_and_never_its_value() {
    check_signalr("", &expect!["error: the connection string lacks 'Endpoint='"]);
    check_signalr("Endpoint=http://a", &expect!["error: the connection string lacks 'AccessKey='"]);
    check_signalr(
        "Endpoint=http://a;AccessKey=",
        &expect!["error: the connection string lacks 'AccessKey='"],
    );
    check_signalr(
        "Endpoint=http://a;SECRET",
        &expect![
            "error: part 2 of the connection string has no '='; it is made of Key=Value pairs with ';' between"
        ],
    );
    check_signalr(
        "Endpoint=http://a;AccessKey=x;accesskey=y",
        &expect!["error: the connection string has 'accesskey' twice"],
    );
    check_signalr(
        "Endpoint=a:80;AccessKey=x",
        &expect!["error: 'Endpoint' in the connection string is not an http:// or https:// address"],
    );
    check_signalr(
        "Endpoint=http://a;AccessKey=x;Version=2.0",
        &expect!["error: 'Version' in the connection string is not of the form 1.<number>"],
    );
    check_signalr(
        "Endpoint=http://a;AccessKey=x;Port=70000",
        &expect!["error: 'Port' in the connection string is not a number from 1 to 65535"],
    );
}

#[test]
fn cosmos_strings_are_read_as_the_sdks_read_them() {
    check_cosmos(
        "AccountEndpoint=https://localhost:8081/;AccountKey=abc==;",
        &expect!["https://localhost:8081 abc== false"],
    );
    check_cosmos(
        "accountendpoint=http://a;accountkey=k;DisableServerCertificateValidation=True",
        &expect!["http://a k true"],
    );
    check_cosmos("AccountKey=k", &expect!["error: the connection string lacks 'AccountEndpoint='"]);
    check_cosmos(
        "AccountEndpoint=https://a;AccountKey=k;DisableServerCertificateValidation=1",
        &expect!["error: 'DisableServerCertificateValidation' in the connection string is not True or False"],
    );
}
