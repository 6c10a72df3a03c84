//! Clients that violate the protocol on purpose: each receives an error and is closed, and other clients are still served.

mod frames;
mod limits;
mod methods;
mod requests;
mod smuggling;
mod tokens;
mod transports;

use http::StatusCode;
use signalr_protocol::HubProtocol;
use testkit::{Http, HubClient, RawSocket};

use crate::fixture::{Listening, client_token, options, token};

/// A masked frame as hostile clients write them, unchecked. `first` is the whole first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x5a, 0x00, 0xff, 0x21];
    let mut bytes = vec![first];
    match payload.len() {
        0..=125 => bytes.push(0x80 | payload.len() as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A WebSocket of the hub `chat` before its handshake.
async fn opened(listening: &Listening) -> RawSocket {
    let path = format!("/client/?hub=chat&access_token={}", client_token("chat", &[]));
    let (socket, head) = RawSocket::upgrade(&listening.authority, &path, "").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket
}

/// A client of the hub `chat` after its handshake.
async fn connected(listening: &Listening, protocol: HubProtocol) -> RawSocket {
    let mut socket = opened(listening).await;
    let record = format!("{{\"protocol\":\"{}\",\"version\":1}}\u{1e}", protocol.name());
    socket.send(&frame(0x81, record.as_bytes())).await.unwrap();
    let expected = match protocol {
        HubProtocol::Json => "text {}\u{1e}",
        HubProtocol::MessagePack | HubProtocol::BlazorPack => "binary 7b7d1e",
    };
    assert_eq!(socket.heard().await.unwrap(), expected);
    socket
}

/// Checks that a well-behaved client can connect and receive a message.
async fn still_serves(listening: &Listening) {
    let path = format!("/client/?hub=good&access_token={}", client_token("good", &[]));
    let mut client = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    let path = "/api/v1/hubs/good";
    let authorization = format!("Bearer {}", token(&format!("http://service{path}"), &[]));
    let fields = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let http = Http::new(&listening.authority);
    let body = r#"{"target":"news","arguments":[1]}"#;
    let answer = http.send("POST", path, &fields, body).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    assert_eq!(client.arguments_of("news").await.unwrap(), serde_json::json!([1]));
}
