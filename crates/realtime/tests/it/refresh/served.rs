//! Clients of app servers, which refresh them over the service protocol.

use realtime::{Mode, Options};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{AckStatus, Extensions, Message, UnixTime, parse_claims_payload};
use testkit::{HubClient, Introduction, ScriptedAppServer};

use super::requests::Requests;
use super::{
    FIRST_TOKEN_S, call, close_of, ending_token, negotiate, next_token, path_of, refresh_options, say,
    until_expired,
};
use crate::fixture::{Fixture, Listening, now, token};

const ADA: [(&str, &str); 2] = [("nameid", "ada"), ("role", "reader")];

async fn listen() -> Listening {
    Fixture::start(Options { mode: Mode::Default, ..refresh_options() }).await.listen()
}

async fn server(listening: &Listening) -> ScriptedAppServer {
    let introduction = Introduction::new("chat", "owner", token("http://localhost/server/?hub=chat", &[]));
    ScriptedAppServer::connect(&listening.authority, &introduction).await.unwrap()
}

/// A client over a WebSocket, its connection id and its connection token.
async fn websocket(
    listening: &Listening,
    server: &mut ScriptedAppServer,
    token: &str,
) -> (HubClient, String, String) {
    let secret = negotiate(&listening.fixture, token, "&negotiateVersion=1").await;
    let path = path_of(&secret, token);
    let (client, id) =
        tokio::join!(HubClient::connect(&listening.authority, &path, HubProtocol::Json), server.accept());
    (client.unwrap(), id.unwrap(), secret)
}

/// Refreshes a connection; returns the status and its new claims.
async fn refresh(
    server: &mut ScriptedAppServer,
    secret: &str,
    claims: &[(&str, &str)],
    expires_at: Option<u64>,
) -> (AckStatus, Vec<(String, String)>) {
    let message = |ack_id| Message::RefreshAuth {
        connection_token: secret,
        claims: claims.to_vec(),
        expire_time: expires_at
            .map(|seconds| UnixTime { seconds: i64::try_from(seconds).unwrap(), nanoseconds: 0 }),
        ack_id,
        extensions: Extensions::default(),
    };
    let (status, _, payload) = server.ask_for(message).await.unwrap();
    let payload = payload.unwrap_or_default();
    let claims = parse_claims_payload(&payload).unwrap_or_default();
    (status, claims.into_iter().map(|(kind, value)| (kind.to_owned(), value.to_owned())).collect())
}

/// Completes the next invocation with its argument.
async fn answer(server: &mut ScriptedAppServer) {
    let (id, call) = server.call().await.unwrap();
    server.complete(&id, call["invocationId"].as_str().unwrap(), &call["arguments"][0]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshed_clients_of_app_servers_stay_connected_after_their_first_token_expired() {
    let listening = listen().await;
    let mut owner = server(&listening).await;
    let expires_at = now() + FIRST_TOKEN_S;
    let first = ending_token(&ADA, expires_at);
    let (mut unrefreshed, _, _) = websocket(&listening, &mut owner, &first).await;
    let (mut websocket, _, secret) = websocket(&listening, &mut owner, &first).await;
    let mut requests = Vec::new();
    for by_events in [true, false] {
        let mut client = Requests::begin(&listening.fixture, first.clone(), by_events).await;
        owner.accept().await.unwrap();
        client.until("{}").await;
        requests.push(client);
    }
    let later = now() + 600;
    for secret in requests.iter().map(|client| &client.secret).chain([&secret]) {
        let (status, claims) = refresh(&mut owner, secret, &[], Some(later)).await;
        assert_eq!(status, AckStatus::Ok);
        let end = ("asrs.s.aeo".to_owned(), later.to_string());
        assert!(claims.contains(&end) && claims.contains(&("asrs.s.coae".to_owned(), "true".to_owned())));
    }
    assert_eq!(close_of(&mut unrefreshed).await["allowReconnect"], true);
    until_expired(expires_at).await;
    // The other clients stay connected, but a request with the expired token is rejected.
    for client in &mut requests {
        assert_eq!((client.post("").await, client.poll().await), (401, 401));
        let (status, claims) = refresh(&mut owner, &client.secret, &[], None).await;
        assert_eq!(status, AckStatus::Ok);
        client.token = next_token(&claims);
        client.say(&call("echo", "x")).await;
        answer(&mut owner).await;
        client.until("\"result\":\"x\"").await;
    }
    say(&mut websocket, &call("echo", "y")).await;
    answer(&mut owner).await;
    assert_eq!(websocket.next_json().await.unwrap()["result"], "y");
    drop(requests);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ack_has_all_claims_under_long_types_and_under_their_names() {
    let listening = listen().await;
    let mut owner = server(&listening).await;
    let (_ada, _, secret) = websocket(&listening, &mut owner, &ending_token(&ADA, 4_000_000_000)).await;
    let get = |ack_id| Message::GetConnectionClaims {
        connection_token: &secret,
        ack_id,
        extensions: Extensions::default(),
    };
    let (status, _, payload) = owner.ask_for(get).await.unwrap();
    let payload = payload.unwrap();
    let expected = [
        ("http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier", "ada"),
        ("http://schemas.microsoft.com/ws/2008/06/identity/claims/role", "reader"),
        ("asrs.s.coae", "true"),
        ("asrs.s.aeo", "4000000000"),
        ("nameid", "ada"),
        ("role", "reader"),
    ];
    assert_eq!((status, parse_claims_payload(&payload).unwrap()), (AckStatus::Ok, expected.to_vec()));
    let refreshed = refresh(&mut owner, &secret, &[("role", "a"), ("role", "b")], Some(4_000_000_001)).await;
    let refreshed: Vec<_> = refreshed.1.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
    let role = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";
    let expected = [
        ("asrs.s.coae", "true"),
        (role, "a"),
        (role, "b"),
        ("asrs.s.uid", "ada"),
        ("asrs.s.aeo", "4000000001"),
        ("role", "a"),
        ("role", "b"),
    ];
    assert_eq!(refreshed, expected);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_with_an_earlier_expiry_closes_the_connection_at_that_time() {
    let listening = listen().await;
    let mut owner = server(&listening).await;
    let (mut ada, _, secret) = websocket(&listening, &mut owner, &ending_token(&ADA, now() + 3_600)).await;
    assert_eq!(refresh(&mut owner, &secret, &[], Some(now() + 7_200)).await.0, AckStatus::Ok);
    assert_eq!(refresh(&mut owner, &secret, &[], Some(now() - 1)).await.0, AckStatus::Ok);
    assert_eq!(close_of(&mut ada).await["allowReconnect"], true);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_server_receives_a_refresh_only_if_claims_changed() {
    let listening = listen().await;
    let mut owner = server(&listening).await;
    let (_ada, id, secret) = websocket(&listening, &mut owner, &ending_token(&ADA, now() + 3_600)).await;
    let name = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
    let role = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";
    // The same claims by their .NET types, with another expiry, and no claims at all.
    let same = [(role, "reader"), (name, "ada")];
    assert_eq!(refresh(&mut owner, &secret, &same, Some(now() + 7_200)).await.0, AckStatus::Ok);
    assert_eq!(refresh(&mut owner, &secret, &[], Some(now() + 7_300)).await.0, AckStatus::Ok);
    let ask = Message::RefreshAuth {
        connection_token: &secret,
        claims: vec![(name, "ada"), (role, "writer")],
        expire_time: None,
        ack_id: 99,
        extensions: Extensions::default(),
    };
    owner.send(&ask).await.unwrap();
    let told = owner.until(|message| match message {
        Message::UpdateConnectionClaims { connection_id, claims, .. } => {
            let roles = claims.iter().filter(|(kind, _)| *kind == role || *kind == "role");
            let roles: Vec<_> = roles.map(|(_, value)| (*value).to_owned()).collect();
            Some(((*connection_id).to_owned(), roles))
        }
        _ => None,
    });
    // The first update that it receives is the last refresh.
    assert_eq!(told.await.unwrap(), (id, vec!["writer".to_owned(), "writer".to_owned()]));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_for_another_user_is_refused_and_changes_nothing() {
    let listening = listen().await;
    let mut owner = server(&listening).await;
    let (mut ada, _, secret) = websocket(&listening, &mut owner, &ending_token(&ADA, now() + 3_600)).await;
    let before = refresh(&mut owner, &secret, &[], None).await;
    let bob = [("nameid", "bob"), ("role", "admin")];
    assert_eq!(refresh(&mut owner, &secret, &bob, Some(now() - 1)).await, (AckStatus::Forbidden, Vec::new()));
    assert_eq!(refresh(&mut owner, &secret, &[], None).await, before);
    say(&mut ada, &call("echo", "still here")).await;
    answer(&mut owner).await;
    assert_eq!(ada.next_json().await.unwrap()["result"], "still here");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_connection_token_of_negotiate_version_1_identifies_a_connection() {
    let listening = listen().await;
    let mut owner = server(&listening).await;
    let first = ending_token(&ADA, now() + 3_600);
    let (_ada, id, secret) = websocket(&listening, &mut owner, &first).await;
    let old = negotiate(&listening.fixture, &first, "&negotiateVersion=0").await;
    let path = path_of(&old, &first);
    let (client, _) =
        tokio::join!(HubClient::connect(&listening.authority, &path, HubProtocol::Json), owner.accept());
    let _old_client = client.unwrap();
    for unknown in [id.as_str(), old.as_str(), "nobody", "", &"A".repeat(27)] {
        let refused = refresh(&mut owner, unknown, &[], Some(now() + 7_200)).await;
        assert_eq!(refused, (AckStatus::NotFound, Vec::new()), "{unknown}");
        let get = |ack_id| Message::GetConnectionClaims {
            connection_token: unknown,
            ack_id,
            extensions: Extensions::default(),
        };
        assert_eq!(owner.ask(get).await.unwrap().0, AckStatus::NotFound, "{unknown}");
    }
    // The app server of another hub does not find it either.
    let introduction = Introduction::new("other", "other", token("http://localhost/server/?hub=other", &[]));
    let mut other = ScriptedAppServer::connect(&listening.authority, &introduction).await.unwrap();
    assert_eq!(refresh(&mut other, &secret, &[], None).await.0, AckStatus::NotFound);
    assert_eq!(refresh(&mut owner, &secret, &[], None).await.0, AckStatus::Ok);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_refreshes_with_a_new_token_and_its_app_server_receives_the_claims() {
    let listening = listen().await;
    let mut owner = server(&listening).await;
    let (_ada, id, secret) = websocket(&listening, &mut owner, &ending_token(&ADA, now() + 3_600)).await;
    let renewed = ending_token(&[("nameid", "ada"), ("role", "writer")], now() + 7_200);
    let http = testkit::Http::new(&listening.authority);
    let authorization = format!("Bearer {renewed}");
    let show = async |path: &str, more: &[(&str, &str)]| {
        let headers = [&[("authorization", authorization.as_str())], more].concat();
        let answer = http.send("POST", path, &headers, "").await.unwrap();
        (answer.status.as_u16(), answer.json().unwrap())
    };
    let (status, answer) = show(&format!("/client/refresh?hub=chat&id={secret}"), &[]).await;
    let lifetime = answer["tokenLifetimeSeconds"].as_u64();
    assert!(
        status == 200 && lifetime.is_some_and(|lifetime| (7_100..=7_200).contains(&lifetime)),
        "{answer}"
    );
    let told = owner.until(|message| match message {
        Message::UpdateConnectionClaims { connection_id, claims, .. } => {
            let role = claims.iter().find(|(kind, _)| *kind == "role")?;
            Some(((*connection_id).to_owned(), role.1.to_owned()))
        }
        _ => None,
    });
    assert_eq!(told.await.unwrap(), (id, "writer".to_owned()));
    // The SDK of apps sends the connection token in a header.
    let header = [("x-signalr-connection-token", secret.as_str())];
    assert_eq!(show("/client/refresh?hub=chat", &header).await.0, 200);
    let (status, answer): (u16, Value) = show("/client/refresh?hub=chat&id=nobody", &[]).await;
    assert_eq!((status, &answer["error"]), (404, &json!("connection_not_found")));
    listening.stop().await;
}
