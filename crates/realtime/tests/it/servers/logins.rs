//! Clients that log in again, as app servers tell it.

use signalr_protocol::HubProtocol;
use signalr_protocol::service::{AckStatus, Message, UnixTime, parse_claims_payload};
use testkit::{AppServer, Http, HubClient};

use super::{client_path, close_of, default_mode, listen, negotiate, server, x};
use crate::fixture::{Listening, client_token, now};

/// `ClaimTypes.NameIdentifier` and `ClaimTypes.Role` of .NET.
const NAME_IDENTIFIER: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
const ROLE: &str = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";

/// A client that negotiated, so that its app knows its token: itself, its id, the token.
async fn logged_in(
    listening: &Listening,
    server: &mut AppServer,
    more: &[(&str, &str)],
) -> (HubClient, String, String) {
    let claims: Vec<_> =
        [("sub", "ada"), ("role", "reader")].into_iter().chain(more.iter().copied()).collect();
    let (_, answer) = negotiate(listening, &claims).await;
    let token = answer["connectionToken"].as_str().unwrap().to_owned();
    let path = client_path(&claims) + "&id=" + &token;
    let (ada, id) =
        tokio::join!(HubClient::connect(&listening.authority, &path, HubProtocol::Json), server.accept());
    (ada.unwrap(), id.unwrap(), token)
}

fn refresh<'a>(
    token: &'a str,
    claims: &[(&'a str, &'a str)],
    seconds: Option<i64>,
) -> impl FnOnce(i32) -> Message<'a> {
    let claims = claims.to_vec();
    move |ack_id| Message::RefreshAuth {
        connection_token: token,
        claims,
        expire_time: seconds.map(|seconds| UnixTime { seconds, nanoseconds: 0 }),
        ack_id,
        extensions: x(),
    }
}

/// The claims that a server may read, without those that belong to the token.
async fn claims(server: &mut AppServer, token: &str) -> Vec<String> {
    let get = |ack_id| Message::GetConnectionClaims { connection_token: token, ack_id, extensions: x() };
    let (status, _, payload) = server.ask_for(get).await.unwrap();
    assert_eq!(status, AckStatus::Ok);
    let payload = payload.unwrap();
    let claims = parse_claims_payload(&payload).unwrap();
    let own = claims.iter().filter(|(kind, _)| !["aud", "iat", "exp"].contains(kind));
    own.map(|(kind, value)| format!("{kind}={value}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_read_and_renewed_and_the_owner_is_told() {
    let listening = listen(default_mode()).await;
    let mut owner = server(&listening, "owner").await;
    let (_ada, id, token) = logged_in(&listening, &mut owner, &[]).await;
    let mut other = server(&listening, "other").await;
    let told = |roles: &[&str]| {
        let of = |user: &str, role: &str| {
            let roles = roles.iter().map(|value| format!("{role}={value}"));
            std::iter::once(format!("{user}=ada")).chain(roles).collect::<Vec<_>>()
        };
        [of(NAME_IDENTIFIER, ROLE), of("sub", "role")].concat()
    };
    assert_eq!(claims(&mut other, &token).await, told(&["reader"]));
    assert_eq!(claims(&mut other, &id).await, told(&["reader"]));
    let renewed = [("sub", "ada"), ("role", "writer"), ("role", "owner")];
    assert_eq!(other.ask(refresh(&token, &renewed, None)).await.unwrap().0, AckStatus::Ok);
    let pushed = owner.until(|message| match message {
        Message::UpdateConnectionClaims { connection_id, claims, .. } => {
            let claims = claims.iter().map(|(kind, value)| format!("{kind}={value}"));
            Some(((*connection_id).to_owned(), claims.collect::<Vec<_>>()))
        }
        _ => None,
    });
    assert_eq!(pushed.await.unwrap(), (id.clone(), told(&["writer", "owner"])));
    assert_eq!(claims(&mut other, &token).await, told(&["writer", "owner"]));
    let text = "the new claims name another user";
    assert_eq!(
        other.ask(refresh(&token, &[("sub", "bob")], None)).await.unwrap(),
        (AckStatus::Other(5), text.to_owned())
    );
    let nobody = other.ask(refresh("nobody", &[], None)).await.unwrap();
    assert_eq!(nobody, (AckStatus::NotFound, "no connection has this token".to_owned()));
    let get = |ack_id| Message::GetConnectionClaims { connection_token: "nobody", ack_id, extensions: x() };
    assert_eq!(other.ask(get).await.unwrap().0, AckStatus::NotFound);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_logs_in_again_lives_on_until_its_new_end() {
    let listening = listen(default_mode()).await;
    let mut owner = server(&listening, "owner").await;
    let end = (now() + 3600).to_string();
    let (mut ada, _, token) =
        logged_in(&listening, &mut owner, &[("asrs.s.coae", "True"), ("asrs.s.aeo", &end)]).await;
    // A later end first, and then one that has come already.
    let later = i64::try_from(now() + 7200).unwrap();
    assert_eq!(owner.ask(refresh(&token, &[], Some(later))).await.unwrap().0, AckStatus::Ok);
    assert_eq!(owner.ask(refresh(&token, &[], Some(1))).await.unwrap().0, AckStatus::Ok);
    assert_eq!(close_of(&mut ada).await.unwrap()["allowReconnect"], true);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_told_when_its_client_shows_a_new_token_by_itself() {
    let listening = listen(default_mode()).await;
    let mut owner = server(&listening, "owner").await;
    let end = (now() + 3600).to_string();
    let expiring = [("asrs.s.coae", "True"), ("asrs.s.aeo", end.as_str())];
    let (_ada, id, token) = logged_in(&listening, &mut owner, &expiring).await;
    let renewed = client_token("chat", &[&[("sub", "ada"), ("role", "writer")], &expiring[..]].concat());
    let path = format!("/client/refresh?hub=chat&id={token}");
    let authorization = format!("Bearer {renewed}");
    let http = Http::new(&listening.authority);
    let answer = http.send("POST", &path, &[("authorization", &authorization)], "").await.unwrap();
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    let told = owner.until(|message| match message {
        Message::UpdateConnectionClaims { connection_id, claims, .. } => {
            let role = claims.iter().find(|(kind, _)| *kind == "role")?;
            Some(((*connection_id).to_owned(), role.1.to_owned()))
        }
        _ => None,
    });
    assert_eq!(told.await.unwrap(), (id.clone(), "writer".to_owned()));
    assert!(claims(&mut owner, &token).await.contains(&"role=writer".to_owned()));
    listening.stop().await;
}
