//! A service behind a listener, with connected clients, and an app that sends.

use http::StatusCode;
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use testkit::{Http, HttpResponse, HubClient};

use crate::fixture::{Fixture, Listening, client_token, options, token};
use crate::webhook::Webhook;

pub(super) struct World {
    pub(super) listening: Listening,
}

/// A connected client and its public id.
pub(super) struct Client {
    pub(super) hub: HubClient,
    pub(super) id: String,
}

impl World {
    pub(super) async fn start() -> Self {
        Self { listening: Fixture::start(options()).await.listen() }
    }

    /// With an upstream for the invocations of clients.
    pub(super) async fn with_upstream(webhook: &Webhook) -> Self {
        let options = crate::upstream::with_template(webhook, "messages");
        Self { listening: Fixture::start(options).await.listen() }
    }

    pub(super) async fn connect(&self, user: Option<&str>, protocol: HubProtocol) -> Client {
        let claims: Vec<(&str, &str)> = user.map(|user| ("asrs.s.uid", user)).into_iter().collect();
        self.connect_with(&client_token("chat", &claims), protocol).await
    }

    pub(super) async fn connect_with(&self, token: &str, protocol: HubProtocol) -> Client {
        let authorization = format!("Bearer {token}");
        let path = "/client/negotiate?hub=chat&negotiateVersion=1";
        let http = Http::new(&self.listening.authority);
        let answer = http.send("POST", path, &[("authorization", &authorization)], "").await.unwrap();
        let answer = answer.json().unwrap();
        let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let path = format!("/client/?hub=chat&id={}&access_token={token}", text("connectionToken"));
        let hub = HubClient::connect(&self.listening.authority, &path, protocol).await.unwrap();
        Client { hub, id: text("connectionId") }
    }

    /// An operation on the hub `chat`, such as `POST :send?excluded=x`, with a JSON body.
    pub(super) async fn call(&self, line: &str, body: Value) -> HttpResponse {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call_with(line, &[("content-type", "application/json")], body).await
    }

    /// An operation on the hub `chat` with given headers and body.
    pub(super) async fn call_with(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> HttpResponse {
        let (method, operation) = line.split_once(' ').unwrap();
        let mark = if operation.contains('?') { '&' } else { '?' };
        let path = format!("/api/hubs/chat/{operation}{mark}api-version=2024-12-01");
        let authorization = format!("Bearer {}", app_token(&path));
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend(headers);
        Http::new(&self.listening.authority).send(method, &path, &all, body).await.unwrap()
    }

    /// An operation that must succeed with this status.
    pub(super) async fn expect(&self, status: u16, line: &str, body: Value) -> HttpResponse {
        let answer = self.call(line, body).await;
        assert_eq!(answer.status, StatusCode::from_u16(status).unwrap(), "{line}: {}", answer.text());
        answer
    }

    /// Sends a marker to the whole hub, after everything that was sent before.
    pub(super) async fn mark(&self) {
        self.expect(202, "POST :send", json!({ "target": "mark", "arguments": [] })).await;
    }

    pub(super) async fn stop(self) {
        self.listening.stop().await;
    }
}

impl Client {
    /// Everything up to the next marker, one message per line. The protocol must be JSON.
    pub(super) async fn until_mark(&mut self) -> String {
        let mut heard = Vec::new();
        loop {
            let message = self.hub.next().await.unwrap().unwrap_or_else(|| b"closed".to_vec());
            let message = String::from_utf8(message).unwrap();
            if message.contains(r#""target":"mark""#) {
                return heard.join("\n");
            }
            let is_end = message == "closed";
            heard.push(message);
            if is_end {
                return heard.join("\n");
            }
        }
    }

    /// Starts a stream, to which the app will send items over REST. The protocol must be JSON or MessagePack.
    pub(super) async fn open(&mut self, webhook: &mut Webhook, id: &str, protocol: HubProtocol) {
        let message = match protocol {
            HubProtocol::Json => {
                let message = json!({ "type": 4, "invocationId": id, "target": "t", "arguments": [] });
                format!("{message}\u{1e}").into_bytes()
            }
            _ => {
                // [4, {}, id, "t", [], []]
                let length = u8::try_from(id.len()).unwrap();
                let mut message = vec![8 + length, 0x96, 4, 0x80, 0xa0 | length];
                message.extend(id.as_bytes());
                message.extend(b"\xa1t\x90\x90");
                message[0] = u8::try_from(message.len() - 1).unwrap();
                message
            }
        };
        self.hub.send(&message).await.unwrap();
        webhook.take(204, "").await;
    }

    /// The next message in hexadecimal digits.
    pub(super) async fn next_hex(&mut self) -> String {
        let message = self.hub.next().await.unwrap().unwrap();
        message.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The token of an app for a URL.
pub(super) fn app_token(path: &str) -> String {
    token(&format!("http://service{}", path.split('?').next().unwrap()), &[])
}
