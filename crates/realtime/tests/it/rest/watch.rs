//! `:watch`: live connection events.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http_body_util::BodyExt;
use http_messages::Body;
use identity::{AccessKey, Algorithm, Claims};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol::Json;
use testkit::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{World, app_token};
use crate::fixture::{Fixture, KEY, body, now, options, request, token};

/// Reads an endless response.
struct Watcher {
    body: Body,
    read: String,
}

impl Watcher {
    async fn start(world: &World, query: &str, accept: &str) -> Self {
        let path = format!("/api/hubs/chat/:watch?api-version=2024-12-01&{query}");
        let request = request(&format!("GET {path}"))
            .header(AUTHORIZATION, format!("Bearer {}", app_token(&path)))
            .header(ACCEPT, accept);
        let answer = world.listening.fixture.send(request.body(body("")).unwrap()).await;
        assert_eq!(answer.status(), 200);
        let kind = if accept.contains("event-stream") { "text/event-stream" } else { "application/x-ndjson" };
        assert_eq!(answer.headers()["content-type"], kind);
        let mut watcher = Self { body: answer.into_body(), read: String::new() };
        if kind == "application/x-ndjson" {
            assert_eq!(watcher.next().await, json!({ "event": "watching" }));
        }
        watcher
    }

    /// The next part up to `end`; `None` at the end of the response.
    async fn part(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some((part, rest)) = self.read.split_once(end) {
                let (part, rest) = (part.to_owned(), rest.to_owned());
                self.read = rest;
                return Some(part);
            }
            let frame =
                tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("something happens")?;
            self.read.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(&self.part("\n").await.expect("the answer goes on")).unwrap()
    }

    /// The next event without its time, which is checked to be now.
    async fn event(&mut self) -> Value {
        let mut event = self.next().await;
        let at = event.as_object_mut().unwrap().remove("at").and_then(|at| at.as_u64()).expect("a time");
        assert!((at / 1000).abs_diff(now()) < 60, "{at}");
        event
    }
}

/// The received text until it contains `words`.
async fn until(socket: &mut TcpStream, words: &str) -> String {
    let mut said = String::new();
    let mut buffer = [0; 4096];
    while !said.contains(words) {
        let read =
            tokio::time::timeout(PATIENCE, socket.read(&mut buffer)).await.expect("it goes on").unwrap();
        assert!(read > 0, "it ends: {said}");
        said.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_and_leaves_are_reported_as_they_happen() {
    let world = World::start().await;
    let mut all = Watcher::start(&world, "", "*/*").await;
    let mut of_bob = Watcher::start(&world, "user=bob", "*/*").await;
    let mut of_group = Watcher::start(&world, "group=g", "*/*").await;
    let ada = world.connect(Some("ada"), Json).await;
    let joined = json!({ "event": "connected", "hub": "chat", "protocol": "json", "transport": "WebSockets", "connectionId": ada.id, "userId": "ada" });
    assert_eq!(all.event().await, joined);
    let mut of_ada = Watcher::start(&world, &format!("connection={}", ada.id), "*/*").await;
    let bob = world.connect(Some("bob"), Json).await;
    let joined = json!({ "event": "connected", "hub": "chat", "protocol": "json", "transport": "WebSockets", "connectionId": bob.id, "userId": "bob" });
    assert_eq!(all.event().await, joined);
    assert_eq!(of_bob.event().await, joined);
    let (group, other) = ("PUT groups/g/connections/", "PUT groups/other/connections/");
    for line in [format!("{other}{}", ada.id), format!("{group}{}", ada.id), format!("{group}{}", bob.id)] {
        world.expect(200, &line, Value::Null).await;
    }
    let member = |event: &str, group: &str, id: &str, user: &str| json!({ "event": event, "hub": "chat", "group": group, "connectionId": id, "userId": user });
    assert_eq!(all.event().await, member("joined", "other", &ada.id, "ada"));
    // The two may be on different shards, so their order is not defined.
    let mut both = [all.event().await, all.event().await];
    both.sort_by_key(|event| event["userId"].as_str().unwrap().to_owned());
    assert_eq!(both, [member("joined", "g", &ada.id, "ada"), member("joined", "g", &bob.id, "bob")]);
    assert_eq!(of_ada.event().await, member("joined", "other", &ada.id, "ada"));
    assert_eq!(of_ada.event().await, member("joined", "g", &ada.id, "ada"));
    assert_eq!(of_bob.event().await, member("joined", "g", &bob.id, "bob"));
    let mut both = [of_group.event().await, of_group.event().await];
    both.sort_by_key(|event| event["userId"].as_str().unwrap().to_owned());
    assert_eq!(both, [member("joined", "g", &ada.id, "ada"), member("joined", "g", &bob.id, "bob")]);
    world.expect(200, &format!("DELETE groups/g/connections/{}", ada.id), Value::Null).await;
    assert_eq!(of_group.event().await, member("left", "g", &ada.id, "ada"));
    world.expect(204, "POST users/bob/:closeConnections?reason=enough", Value::Null).await;
    assert_eq!(of_bob.event().await["event"], "left");
    let gone = of_bob.event().await;
    assert_eq!(
        (&gone["event"], &gone["reason"], &gone["error"]),
        (&json!("disconnected"), &json!("Closed"), &json!("enough"))
    );
    drop((ada, bob, all, of_ada, of_group));
    world.stop().await;
    assert_eq!(of_bob.next().await, json!({ "event": "end", "reason": "Stopping" }));
    assert_eq!(of_bob.part("\n").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_are_streamed_over_a_network_connection() {
    let world = World::start().await;
    let mut events = Watcher::start(&world, "", "text/event-stream").await;
    assert_eq!(events.part("\n\n").await.unwrap(), r#"data: {"event":"watching"}"#);
    let mut socket = TcpStream::connect(&world.listening.authority).await.unwrap();
    let path = "/api/hubs/chat/:watch?api-version=2024-12-01";
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", app_token(path));
    socket.write_all(head.as_bytes()).await.unwrap();
    let heard = until(&mut socket, "watching").await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    let ada = world.connect(Some("ada"), Json).await;
    assert!(events.part("\n\n").await.unwrap().starts_with(r#"data: {"event":"connected""#));
    until(&mut socket, &ada.id).await;
    drop((ada, events));
    // The drain ends the stream with a last event.
    let (said, ()) = tokio::join!(until(&mut socket, "Stopping"), world.stop());
    assert!(said.contains(r#"{"event":"end","reason":"Stopping"}"#), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_above_the_limit_are_refused_and_each_ends_with_its_token() {
    let options = realtime::Options { watchers_max: 1, ..options() };
    let world = World { listening: Fixture::start(options).await.listen() };
    let path = "/api/hubs/chat/:watch?api-version=2024-12-01";
    let key = AccessKey::new(KEY).unwrap();
    // An expired token is accepted within the leeway at the start, but the stream ends exactly with it.
    let short = identity::sign(
        &Claims::new(),
        "http://x/api/hubs/chat/:watch",
        now(),
        now() + 1,
        &key,
        Algorithm::Hs256,
    );
    let watch = async |token: &str| {
        let request = request(&format!("GET {path}")).header(AUTHORIZATION, format!("Bearer {token}"));
        world.listening.fixture.send(request.body(body("")).unwrap()).await
    };
    let first = watch(&short).await;
    assert_eq!(first.status(), 200);
    let second = watch(&token("http://x/api/hubs/chat/:watch", &[])).await;
    assert_eq!(
        (second.status().as_u16(), second.headers()["x-ms-error-code"].to_str().unwrap()),
        (429, "TooManyWatchers")
    );
    let said = tokio::time::timeout(Duration::from_secs(20), first.into_body().collect()).await;
    let said = said.expect("the token ends").unwrap().to_bytes();
    let expected = "{\"event\":\"watching\"}\n{\"event\":\"end\",\"reason\":\"TokenExpired\"}\n";
    assert_eq!(String::from_utf8_lossy(&said), expected);
    // Its permit is free again.
    let third = watch(&token("http://x/api/hubs/chat/:watch", &[])).await;
    assert_eq!(third.status(), 200);
    drop(third);
    let wrong = world.call("GET :watch?connection=x", Value::Null).await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.headers["x-ms-error-code"].as_bytes()),
        (400, b"InvalidConnection".as_slice())
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_does_not_read_receives_the_number_of_missed_events() {
    let world = World::start().await;
    let mut slow = Watcher::start(&world, "", "*/*").await;
    let ada = world.connect(Some("ada"), Json).await;
    assert_eq!(slow.event().await["event"], "connected");
    // More events than the engine buffers for a watcher that does not read.
    let (engine, hub) =
        (world.listening.fixture.handle.engine(), world.listening.fixture.handle.hub("chat").unwrap());
    let id = realtime_engine::ConnectionId::parse(&ada.id).unwrap();
    let rounds = 10_000;
    for round in 0..rounds {
        let group = realtime_engine::GroupName::new("g");
        let change = if round % 2 == 0 {
            realtime_engine::Membership::Join
        } else {
            realtime_engine::Membership::Leave
        };
        engine.change_connection(&hub, id, &group, change).await.unwrap();
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < rounds {
        let event = slow.next().await;
        match event["event"].as_str().unwrap() {
            "joined" | "left" => seen += 1,
            "missed" => missed += event["count"].as_u64().unwrap(),
            other => panic!("{other}"),
        }
    }
    assert!(missed > 0 && seen > 0 && seen + missed == rounds, "{seen} seen, {missed} missed");
    // No event is missed after that.
    world.expect(200, &format!("PUT groups/last/connections/{}", ada.id), Value::Null).await;
    assert_eq!(slow.event().await["group"], "last");
    drop(ada);
    world.stop().await;
}
