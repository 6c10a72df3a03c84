//! Authentication refresh: connections continue with new claims and a new expiry, on every transport, for clients of app servers
//! and of upstreams. The tests do what an app does (reference, 1.8): they call the service, and make the client's next token from
//! the claims in the response.

mod requests;
mod served;
mod serverless;

use std::time::Duration;

use http::header::AUTHORIZATION;
use http_body_util::BodyExt;
use identity::{AccessKey, Algorithm, Claims};
use realtime::Options;
use serde_json::{Value, json};
use testkit::HubClient;

use crate::fixture::{Fixture, KEY, body, now, options, request};

/// Lifetime of the clients' first tokens: long enough to connect and refresh them on a slow machine.
const FIRST_TOKEN_S: u64 = 5;

/// Tokens have no leeway, and polls are short.
fn refresh_options() -> Options {
    Options { token_leeway_s: 0, poll_interval_ms: 20, ..options() }
}

/// A client's token that expires at a given time.
fn token_until(claims: &[(&str, &str)], expires_at: u64) -> String {
    let claims: Claims = claims.iter().copied().collect();
    let key = AccessKey::new(KEY).unwrap();
    identity::sign(&claims, "http://localhost/client/?hub=chat", now(), expires_at, &key, Algorithm::Hs256)
}

/// The token of a client whose connection ends when its authentication expires.
fn ending_token(claims: &[(&str, &str)], expires_at: u64) -> String {
    let end = expires_at.to_string();
    let ending = [("asrs.s.coae", "true"), ("asrs.s.aeo", end.as_str())];
    token_until(&[claims, &ending].concat(), expires_at)
}

/// Waits for the second after a token's last one: the connection closes at its start, and requests accept the token within it.
async fn until_expired(expires_at: u64) {
    while now() <= expires_at {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The client's next token, as the SDK makes it: all claims, under their short names, and each name once.
fn next_token(claims: &[(String, String)]) -> String {
    let short = |kind: &str| {
        match kind.rsplit_once("/claims/").map_or("", |(_, name)| name) {
            "nameidentifier" => "nameid",
            "role" => "role",
            _ => kind,
        }
        .to_owned()
    };
    let mut short: Vec<_> = claims.iter().map(|(kind, value)| (short(kind), value.clone())).collect();
    short.sort();
    short.dedup();
    let claims: Vec<_> = short.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
    token_until(&claims, now() + 60)
}

/// Negotiates; returns the connection token.
async fn negotiate(fixture: &Fixture, token: &str, more: &str) -> String {
    let line = format!("POST /client/negotiate?hub=chat{more}");
    let request = request(&line).header(AUTHORIZATION, format!("Bearer {token}")).body(body("")).unwrap();
    let answer = fixture.send(request).await.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let secret = if answer["negotiateVersion"] == 0 { "connectionId" } else { "connectionToken" };
    answer[secret].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn path_of(secret: &str, token: &str) -> String {
    format!("/client/?hub=chat&id={secret}&access_token={token}")
}

/// The Close message that ends a client.
async fn close_of(client: &mut HubClient) -> Value {
    loop {
        let message = client.next_json().await.unwrap();
        if message["type"] == 7 {
            return message;
        }
    }
}

async fn say(client: &mut HubClient, message: &Value) {
    client.send(format!("{message}\u{1e}").as_bytes()).await.unwrap();
}

fn call(target: &str, argument: &str) -> Value {
    json!({ "type": 1, "invocationId": "7", "target": target, "arguments": [argument] })
}
