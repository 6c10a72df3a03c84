//! Default mode over a real listener: scripted app servers on one side, scripted clients on the other.

mod calls;
mod clients;
mod ends;
mod groups;
mod headers;
mod hostile;
mod keys;
mod moving;
mod pieces;
mod pressure;
mod replay;
mod results;
mod sending;
mod slow_clients;
mod stateful;
mod too_long;

use anyhow::Context;
use realtime::{Mode, Options, servers};
use serde_json::Value;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::Extensions;
use testkit::{Http, HubClient, Introduction, ScriptedAppServer};

use crate::fixture::{Fixture, Listening, client_token, options, token};

/// Options for Default mode with short timeouts.
fn default_mode() -> Options {
    let servers = servers::Options { pause_timeout_ms: 500, ..options().servers };
    Options { mode: Mode::Default, servers, ..options() }
}

async fn listen(options: Options) -> Listening {
    Fixture::start(options).await.listen()
}

fn introduction(server: &str) -> Introduction {
    Introduction::new("chat", server, token("http://localhost/server/?hub=chat", &[]))
}

async fn server(listening: &Listening, name: &str) -> ScriptedAppServer {
    ScriptedAppServer::connect(&listening.authority, &introduction(name)).await.unwrap()
}

/// The path at which a client with these claims connects without negotiation.
fn client_path(claims: &[(&str, &str)]) -> String {
    format!("/client/?hub=chat&access_token={}", client_token("chat", claims))
}

/// A client of an app server, which accepts its handshake, and its connection id.
async fn client(
    listening: &Listening,
    server: &mut ScriptedAppServer,
    claims: &[(&str, &str)],
    protocol: HubProtocol,
) -> (HubClient, String) {
    let path = client_path(claims);
    let (client, id) =
        tokio::join!(HubClient::connect(&listening.authority, &path, protocol), server.accept());
    (client.unwrap(), id.unwrap())
}

async fn json_client(
    listening: &Listening,
    server: &mut ScriptedAppServer,
    claims: &[(&str, &str)],
) -> (HubClient, String) {
    client(listening, server, claims, HubProtocol::Json).await
}

/// Negotiates; returns the status, and the response or its text.
async fn negotiate(listening: &Listening, claims: &[(&str, &str)]) -> (u16, Value) {
    let authorization = format!("Bearer {}", client_token("chat", claims));
    let http = Http::new(&listening.authority);
    let path = "/client/negotiate?hub=chat&negotiateVersion=1&useStatefulReconnect=true";
    let answer = http.send("POST", path, &[("authorization", &authorization)], "").await.unwrap();
    (answer.status.as_u16(), answer.json().unwrap_or_else(|_| answer.text().into()))
}

/// Negotiates until the response has this status: the service notices a change of app servers after a moment.
async fn until_negotiate(listening: &Listening, status: u16) {
    let asking = async { while negotiate(listening, &[]).await.0 != status {} };
    tokio::time::timeout(testkit::PATIENCE, asking).await.expect("the status comes");
}

/// Sends a hub message, given as JSON, from a client of JSON.
async fn say(client: &mut HubClient, message: &Value) {
    client.send(format!("{message}\u{1e}").as_bytes()).await.unwrap();
}

/// The Close message that ends a client. `None` if the connection ended without one.
async fn close_of(client: &mut HubClient) -> Option<Value> {
    while let Some(message) = client.next().await.unwrap() {
        let message: Value = serde_json::from_slice(&message).unwrap();
        if message["type"] == 7 {
            return Some(message);
        }
    }
    None
}

/// An invocation of `news` with one number, in both encodings, framed.
fn news(number: u8) -> Vec<(&'static str, Vec<u8>)> {
    let json = format!("{{\"type\":1,\"target\":\"news\",\"arguments\":[{number}]}}\u{1e}");
    assert!(number < 128, "one byte in MessagePack");
    let messagepack = vec![0x0c, 0x96, 0x01, 0x80, 0xc0, 0xa4, b'n', b'e', b'w', b's', 0x91, number, 0x90];
    vec![("json", json.into_bytes()), ("messagepack", messagepack)]
}

fn payloads<'a>(owned: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'a str, &'a [u8])> {
    owned.iter().map(|(name, payload)| (*name, payload.as_slice())).collect()
}

fn x() -> Extensions<'static> {
    Extensions::default()
}

/// The arguments of the next `news` of a JSON client.
async fn heard(client: &mut HubClient) -> Value {
    client.arguments_of("news").await.context("no news").unwrap()
}
