//! A client of Server-Sent Events or long polling, which sends its token with each request.

use http::header::{ACCEPT, AUTHORIZATION};
use http_body_util::BodyExt;
use http_messages::Body;
use serde_json::Value;
use tokio::time::timeout;

use super::negotiate;
use crate::fixture::{Fixture, body, request};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";

pub(super) struct Requests<'a> {
    fixture: &'a Fixture,
    pub(super) secret: String,
    /// The token of its next request.
    pub(super) token: String,
    /// The endless response of Server-Sent Events.
    events: Option<Body>,
    heard: String,
}

impl<'a> Requests<'a> {
    /// Negotiates, connects and sends its handshake.
    pub(super) async fn begin(fixture: &'a Fixture, token: String, by_events: bool) -> Self {
        let secret = negotiate(fixture, &token, "&negotiateVersion=1").await;
        let mut client = Self { fixture, secret, token, events: None, heard: String::new() };
        let accept = if by_events { "text/event-stream" } else { "*/*" };
        let first = client.send("GET", accept, "").await;
        assert_eq!(first.status(), 200);
        client.events = by_events.then(|| first.into_body());
        assert_eq!(client.post(HANDSHAKE).await, 200);
        client
    }

    async fn send(&self, method: &str, accept: &str, text: &str) -> http::Response<Body> {
        let request = request(&format!("{method} /client/?hub=chat&id={}", self.secret))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(ACCEPT, accept);
        self.fixture.send(request.body(body(text.to_owned())).unwrap()).await
    }

    /// The status of a POST.
    pub(super) async fn post(&self, text: &str) -> u16 {
        self.send("POST", "*/*", text).await.status().as_u16()
    }

    /// The status of a poll.
    pub(super) async fn poll(&self) -> u16 {
        self.send("GET", "*/*", "").await.status().as_u16()
    }

    pub(super) async fn say(&self, message: &Value) {
        assert_eq!(self.post(&format!("{message}\u{1e}")).await, 200);
    }

    /// Receives until the messages contain a text.
    pub(super) async fn until(&mut self, text: &str) {
        while !self.heard.contains(text) {
            let part = match &mut self.events {
                Some(events) => {
                    let frame = timeout(testkit::PATIENCE, events.frame()).await.expect("an event comes");
                    frame.expect("the stream goes on").unwrap().into_data().unwrap()
                }
                None => {
                    let polled = self.send("GET", "*/*", "").await;
                    assert_eq!(polled.status(), 200);
                    polled.into_body().collect().await.unwrap().to_bytes()
                }
            };
            self.heard += std::str::from_utf8(&part).unwrap();
        }
        self.heard.clear();
    }
}
