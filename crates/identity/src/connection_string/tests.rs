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
fn signalr_connection_strings_are_parsed_like_in_the_sdks() {
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
}

#[test]
fn every_documented_auth_type_is_parsed() {
    let check = |more: &str, expected: Expect| {
        let shown = match SignalRConnectionString::parse(&format!("Endpoint=https://a;{more}")) {
            Ok(SignalRConnectionString { auth: SignalRAuth::Entra(login), .. }) => format!("{login:?}"),
            Ok(SignalRConnectionString { auth: SignalRAuth::AccessKey(_), .. }) => "a key".to_owned(),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    };
    check("AuthType=azure;clientId=ignored;Version=1.0;", expect!["Environment"]);
    check("AuthType=azure.msi", expect!["ManagedIdentity { client_id: None }"]);
    check("authtype=Azure.MSI;ClientId=c", expect![[r#"ManagedIdentity { client_id: Some("c") }"#]]);
    check(
        "AuthType=azure.app;ClientId=c;TenantId=t;ClientSecret=hidden",
        expect![[r#"Application { client_id: "c", tenant_id: "t", credential: Secret(AccessKey(..)) }"#]],
    );
    check(
        "AuthType=azure.app;ClientId=c;TenantId=t;ClientCert=/a/b.pem",
        expect![[
            r#"Application { client_id: "c", tenant_id: "t", credential: CertificateFile("/a/b.pem") }"#
        ]],
    );
    check(
        "AuthType=azure.app;ClientId=c;TenantId=t;ClientCertPath=/a/b.pem",
        expect![[
            r#"Application { client_id: "c", tenant_id: "t", credential: CertificateFile("/a/b.pem") }"#
        ]],
    );
    check(
        "AuthType=azure.app;TenantId=t;ClientSecret=hidden",
        expect!["the connection string has no 'ClientId='"],
    );
    check(
        "AuthType=azure.app;ClientId=c;ClientSecret=hidden",
        expect!["the connection string has no 'TenantId='"],
    );
    check(
        "AuthType=azure.app;ClientId=c;TenantId=t",
        expect![
            "the connection string has neither 'ClientSecret=' nor 'ClientCert='; AuthType 'azure.app' with a TenantId needs one of them"
        ],
    );
    check("AuthType=aad", expect!["ManagedIdentity { client_id: None }"]);
    check("AuthType=aad;TenantId=ignored", expect!["ManagedIdentity { client_id: None }"]);
    check("AuthType=aad;ClientId=c", expect![[r#"ManagedIdentity { client_id: Some("c") }"#]]);
    check(
        "AuthType=aad;ClientId=c;TenantId=t",
        expect![
            "the connection string has neither 'ClientSecret=' nor 'ClientCert='; AuthType 'aad' with a TenantId needs one of them"
        ],
    );
    check(
        "AuthType=aad;ClientId=c;TenantId=t;ClientSecret=hidden",
        expect![[r#"Application { client_id: "c", tenant_id: "t", credential: Secret(AccessKey(..)) }"#]],
    );
    check("AuthType=azure;AccessKey=k", expect!["a key"]);
    check("AuthType=other;AccessKey=k", expect!["a key"]);
    check(
        "AuthType=other",
        expect![
            "AuthType 'other' in the connection string is unknown; use azure, azure.msi, azure.app or aad"
        ],
    );
    let without_key = SignalRConnectionString::parse("Endpoint=https://a;AuthType=aad").unwrap();
    expect!["the connection string authenticates with Microsoft Entra ID (AuthType 'azure.msi'), which only works for the service in this process; for another service, use a connection string with an AccessKey"].assert_eq(&without_key.access_key().unwrap_err().to_string());
}

#[test]
fn errors_of_invalid_strings_name_the_key_and_not_its_value() {
    check_signalr("", &expect!["error: the connection string has no 'Endpoint='"]);
    check_signalr(
        "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s/)",
        &expect![
            "error: the connection string is a Key Vault reference, which only Azure resolves; use the value of the secret instead"
        ],
    );
    check_signalr("Endpoint=http://a", &expect!["error: the connection string has no 'AccessKey='"]);
    check_signalr(
        "Endpoint=http://a;AccessKey=",
        &expect!["error: the connection string has no 'AccessKey='"],
    );
    check_signalr(
        "Endpoint=http://a;SECRET",
        &expect![
            "error: part 2 of the connection string has no '='; it consists of Key=Value pairs separated by ';'"
        ],
    );
    check_signalr(
        "Endpoint=http://a;AccessKey=x;accesskey=y",
        &expect!["error: the connection string contains 'accesskey' twice"],
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
fn cosmos_connection_strings_are_parsed_like_in_the_sdks() {
    check_cosmos(
        "AccountEndpoint=https://localhost:8081/;AccountKey=abc==;",
        &expect!["https://localhost:8081 abc== false"],
    );
    check_cosmos(
        "accountendpoint=http://a;accountkey=k;DisableServerCertificateValidation=True",
        &expect!["http://a k true"],
    );
    check_cosmos("AccountKey=k", &expect!["error: the connection string has no 'AccountEndpoint='"]);
    check_cosmos(
        "AccountEndpoint=https://a;AccountKey=k;DisableServerCertificateValidation=1",
        &expect!["error: 'DisableServerCertificateValidation' in the connection string is not True or False"],
    );
}
