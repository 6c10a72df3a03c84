//! App servers that log in at a login provider instead of using an account key.

use identity::{AccessKey, Claims, DynamicKey};
use realtime::{OpenIdOptions, Options};
use serde_json::json;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::Message;
use testkit::{HubClient, Introduction, LoginProvider, ScriptedAppServer};

use super::{default_mode, introduction, listen, server, x};
use crate::fixture::{Listening, now};

const ISSUER: &str = "https://login.example/";

/// A service with a login provider, and the folder with the provider's keys.
async fn with_provider(provider: &LoginProvider) -> (Listening, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, provider.key_set().to_string()).unwrap();
    let openid = OpenIdOptions {
        issuer: ISSUER.to_owned(),
        key_set_file: Some(file),
        roles_required: true,
        ..OpenIdOptions::default()
    };
    (listen(Options { openid: Some(openid), ..default_mode() }).await, folder)
}

fn login_token(provider: &LoginProvider, role: &str) -> String {
    let claims = json!({
        "iss": ISSUER, "aud": "https://signalr.azure.com", "iat": now(), "exp": now() + 60, "oid": "app-1", "roles": [role],
    });
    provider.token("RS256", &claims)
}

/// Requests a key: its id and the key, or the error's name and text.
async fn ask_for_key(
    server: &mut ScriptedAppServer,
    token: Option<&str>,
) -> Result<(String, String), String> {
    server.send(&Message::AccessKeyRequest { token, kid: None, extensions: x() }).await.unwrap();
    let answer = server.until(|message| match message {
        Message::AccessKeyResponse { kid: Some(kid), access_key: Some(key), error_type: None, .. } => {
            Some(Ok(((*kid).to_owned(), (*key).to_owned())))
        }
        Message::AccessKeyResponse { kid: None, access_key: None, error_type, error_message, .. } => {
            Some(Err(format!("{}: {}", error_type.unwrap(), error_message.unwrap())))
        }
        _ => None,
    });
    answer.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_logged_in_receives_a_key_to_sign_its_clients_tokens() {
    let provider = LoginProvider::new(ISSUER);
    let (listening, _keys) = with_provider(&provider).await;
    let token = login_token(&provider, "SignalR App Server");
    let logged_in = Introduction { token: token.clone(), ..introduction("one") };
    let mut one = ScriptedAppServer::connect(&listening.authority, &logged_in).await.unwrap();
    let (id, key) = ask_for_key(&mut one, Some(&token)).await.unwrap();
    // The key is the same until the next one is due.
    assert_eq!(ask_for_key(&mut one, Some(&token)).await, Ok((id.clone(), key.clone())));
    let expires_at = now() + 60;
    let key = DynamicKey { id: id.into(), key: AccessKey::new(key).unwrap(), expires_at };
    let sign = |audience: &str, claims: &[(&str, &str)]| {
        let claims: Claims = claims.iter().copied().collect();
        identity::sign_dynamic(&claims, audience, now(), expires_at, &key)
    };
    let client = sign("http://localhost/client/?hub=chat", &[("sub", "ada")]);
    let path = format!("/client/?hub=chat&access_token={client}");
    let (ada, id) =
        tokio::join!(HubClient::connect(&listening.authority, &path, HubProtocol::Json), one.accept());
    assert!(ada.is_ok() && id.is_ok());
    // A caller that only has such a key cannot open a server connection.
    let holder =
        Introduction { token: sign("http://localhost/server/?hub=chat", &[]), ..introduction("two") };
    let refused = ScriptedAppServer::connect(&listening.authority, &holder).await.err().unwrap().to_string();
    assert!(refused.contains("401"), "{refused}");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_role_a_server_connection_and_a_key_are_refused() {
    let provider = LoginProvider::new(ISSUER);
    let (listening, _keys) = with_provider(&provider).await;
    let token = login_token(&provider, "SignalR REST API Owner");
    let reader = Introduction { token: token.clone(), ..introduction("one") };
    let refused = ScriptedAppServer::connect(&listening.authority, &reader).await.err().unwrap().to_string();
    assert!(refused.contains("403"), "{refused}");
    // Nor over a connection that was opened with an account key.
    let mut two = server(&listening, "two").await;
    let text = "RoleMissing: the token has none of the roles SignalR App Server, SignalR Service Owner";
    assert_eq!(ask_for_key(&mut two, Some(&token)).await, Err(text.to_owned()));
    let forged = login_token(&LoginProvider::new(ISSUER), "SignalR App Server");
    let forged = format!("{}.{}", forged.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
    let refused = ask_for_key(&mut two, Some(&forged)).await.unwrap_err();
    assert!(refused.starts_with("TokenSignature: "), "{refused}");
    for nothing in [None, Some(""), Some("a.b.c")] {
        let refused = ask_for_key(&mut two, nothing).await.unwrap_err();
        assert!(refused.starts_with("Token"), "{refused}");
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_provider_a_key_request_is_refused_with_the_reason() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let text = "NoLoginProvider: no login provider is configured; set openid, or use an AccessKey in the connection string";
    assert_eq!(ask_for_key(&mut one, Some("a.b.c")).await, Err(text.to_owned()));
    listening.stop().await;
}
