//! Misuse of Server-Sent Events and long polling: without ids, twice, too much, too little, too slowly.

use std::time::Duration;

use expect_test::{Expect, expect};
use realtime::Options;
use testkit::{Http, HttpResponse, PATIENCE, RawSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{frame, opened, options, still_serves};
use crate::fixture::{Fixture, Listening, client_token, token};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";

/// A client that has negotiated and violates the protocol.
#[derive(Clone)]
struct MisbehavingClient {
    http: Http,
    id: String,
    authorization: String,
}

impl MisbehavingClient {
    async fn negotiate(listening: &Listening, claims: &[(&str, &str)]) -> Self {
        let http = Http::new(&listening.authority);
        let authorization = format!("Bearer {}", client_token("chat", claims));
        let path = "/client/negotiate?hub=chat&negotiateVersion=1";
        let answer = http.send("POST", path, &[("authorization", &authorization)], "").await.unwrap();
        let id = answer.json().unwrap()["connectionToken"].as_str().unwrap().to_owned();
        Self { http, id, authorization }
    }

    fn path(&self) -> String {
        format!("/client/?hub=chat&id={}", self.id)
    }

    async fn send(
        &self,
        method: &str,
        fields: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> HttpResponse {
        let mut all = vec![("authorization", self.authorization.as_str())];
        all.extend(fields);
        self.http.send(method, &self.path(), &all, body).await.unwrap()
    }

    async fn check(&self, method: &str, body: &str, expected: &Expect) {
        let answer = self.send(method, &[], body.to_owned()).await;
        expected.assert_eq(format!("{} {}", answer.status.as_u16(), answer.text()).trim_end());
    }

    /// Long polling up to the handshake response.
    async fn polling(listening: &Listening) -> Self {
        let rogue = Self::negotiate(listening, &[]).await;
        rogue.check("GET", "", &expect!["200"]).await;
        rogue.check("POST", HANDSHAKE, &expect!["200"]).await;
        assert_eq!(rogue.send("GET", &[], "").await.text(), "{}\u{1e}");
        rogue
    }

    /// An event stream up to its first comment.
    async fn streaming(&self, listening: &Listening) -> RawSocket {
        let mut socket = RawSocket::connect(&listening.authority).await.unwrap();
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\nauthorization: {}\r\n\r\n",
            self.path(),
            self.authorization
        );
        socket.send(request.as_bytes()).await.unwrap();
        let head = socket.text_until(":\r\n\r\n\r\n").await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        socket
    }
}

/// Sends to the hub `chat` over REST.
async fn publish(listening: &Listening, argument: &str) {
    let path = "/api/v1/hubs/chat";
    let authorization = format!("Bearer {}", token(&format!("http://service{path}"), &[]));
    let fields = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = format!("{{\"target\":\"m\",\"arguments\":[\"{argument}\"]}}");
    let answer = Http::new(&listening.authority).send("POST", path, &fields, body).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// Waits until the engine has `expected` connections.
async fn count_is(listening: &Listening, expected: u64) {
    let engine = listening.fixture.handle.engine();
    let reached = async {
        while engine.connection_count(None).await.unwrap() != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, reached).await.is_ok(), "there are not {expected} connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_connection_are_refused() {
    let listening = Fixture::start(options()).await.listen();
    let http = Http::new(&listening.authority);
    let authorization = format!("Bearer {}", client_token("chat", &[]));
    let (unknown, missing) = ("No Connection with that ID", "Connection ID required");
    for (method, path, status, text) in [
        ("POST", "/client/?hub=chat", 400, missing),
        ("GET", "/client/?hub=chat", 400, missing),
        ("DELETE", "/client/?hub=chat", 400, missing),
        ("POST", "/client/?hub=chat&id=", 400, missing),
        ("POST", "/client/?hub=chat&id=none", 404, unknown),
        ("POST", "/client/?hub=chat&id=%00%ff", 404, unknown),
        ("GET", "/client/?hub=chat&id=none", 404, unknown),
        ("DELETE", "/client/?hub=chat&id=none", 404, unknown),
        ("PUT", "/client/?hub=chat&id=none", 405, "this address accepts GET, POST, DELETE, OPTIONS only"),
        ("TRACE", "/client/?hub=chat&id=none", 405, "this address accepts GET, POST, DELETE, OPTIONS only"),
    ] {
        let answer = http.send(method, path, &[("authorization", &authorization)], "").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (status, text), "{method} {path}");
        if method == "GET" {
            assert_eq!(answer.headers["cache-control"], "no-cache, no-store");
        }
    }
    let long = format!("/client/?hub=chat&id={}", "x".repeat(20_000));
    let answer = http.send("POST", &long, &[("authorization", &authorization)], "").await.unwrap();
    assert_eq!(answer.status, 404);
    // Negotiated, but not open: a POST is stored until the first GET, and a DELETE is refused.
    let rogue = MisbehavingClient::negotiate(&listening, &[]).await;
    rogue.check("POST", HANDSHAKE, &expect!["200"]).await;
    let answer = rogue.send("DELETE", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (404, unknown));
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_token_is_refused_for_another_user() {
    let listening = Fixture::start(options()).await.listen();
    let ada = MisbehavingClient::negotiate(&listening, &[("sub", "ada")]).await;
    ada.check("GET", "", &expect!["200"]).await;
    let mut thief = ada.clone();
    for authorization in [
        format!("Bearer {}", client_token("chat", &[("sub", "bob")])),
        format!("Bearer {}", client_token("chat", &[])),
    ] {
        thief.authorization = authorization;
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(thief.send(method, &[], HANDSHAKE).await.status, 404, "{method}");
        }
    }
    thief.authorization = format!("Bearer {}", client_token("other", &[("sub", "ada")]));
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(thief.send(method, &[], HANDSHAKE).await.status, 401, "{method}");
    }
    thief.authorization = "Bearer x".to_owned();
    assert_eq!(thief.send("GET", &[], "").await.status, 401);
    // Ada is not affected.
    ada.check("POST", HANDSHAKE, &expect!["200"]).await;
    assert_eq!(ada.send("GET", &[], "").await.text(), "{}\u{1e}");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cannot_change_its_transport_or_have_two_readers() {
    let listening = Fixture::start(options()).await.listen();
    let rogue = MisbehavingClient::negotiate(&listening, &[]).await;
    let events = rogue.streaming(&listening).await;
    let accept = [("accept", "text/event-stream")];
    let twice = rogue.send("GET", &accept, "").await;
    assert_eq!(
        (twice.status.as_u16(), twice.text().as_str()),
        (409, "a client has connected with this id already")
    );
    let poll = rogue.send("GET", &[], "").await;
    assert_eq!(poll.status, 400, "{}", poll.text());
    let delete = rogue.send("DELETE", &[], "").await;
    assert_eq!(
        (delete.status.as_u16(), delete.text().as_str()),
        (400, "Cannot terminate this connection using the DELETE verb.")
    );
    let path = format!("{}&access_token={}", rogue.path(), client_token("chat", &[]));
    let (_, head) = RawSocket::upgrade(&listening.authority, &path, "").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 400 ") || head.starts_with("HTTP/1.1 409 "), "{head}");
    drop(events);
    let polling = MisbehavingClient::polling(&listening).await;
    assert_eq!(polling.send("GET", &accept, "").await.status, 400);
    polling.check("DELETE", "", &expect!["202"]).await;
    assert_eq!(polling.send("DELETE", &[], "").await.status, 404, "twice");
    assert_eq!(polling.send("POST", &[], "").await.status, 404, "after the end");
    count_is(&listening, 0).await;
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_over_server_sent_events_is_refused() {
    let listening = Fixture::start(options()).await.listen();
    for protocol in ["messagepack", "blazorpack"] {
        let rogue = MisbehavingClient::negotiate(&listening, &[]).await;
        let mut events = rogue.streaming(&listening).await;
        let record = format!("{{\"protocol\":\"{protocol}\",\"version\":1}}\u{1e}");
        assert_eq!(rogue.send("POST", &[], record).await.status, 200);
        let text = events.text_until("\u{1e}").await.unwrap();
        assert!(text.contains("data: {\"error\":\"") && text.contains(protocol), "{text}");
    }
    count_is(&listening, 0).await;
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_handshake_is_reported_to_a_later_poll() {
    let listening = Fixture::start(options()).await.listen();
    let rogue = MisbehavingClient::negotiate(&listening, &[]).await;
    rogue.check("GET", "", &expect!["200"]).await;
    rogue.check("POST", "nonsense\u{1e}", &expect!["200"]).await;
    let told = rogue.send("GET", &[], "").await.text();
    assert!(told.starts_with("{\"error\":\"the first message must be a handshake"), "{told}");
    assert_eq!(rogue.send("GET", &[], "").await.status, 204);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_the_token_of_a_websocket_are_refused() {
    let listening = Fixture::start(options()).await.listen();
    let rogue = MisbehavingClient::negotiate(&listening, &[]).await;
    let field = format!("authorization: {}\r\n", rogue.authorization);
    let (mut socket, head) = RawSocket::upgrade(&listening.authority, &rogue.path(), &field).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket.send(&frame(0x81, HANDSHAKE.as_bytes())).await.unwrap();
    assert_eq!(socket.heard().await.unwrap(), "text {}\u{1e}");
    for (method, status) in [("POST", 405), ("GET", 400), ("DELETE", 400)] {
        let answer = rogue.send(method, &[], "{\"type\":7}\u{1e}").await;
        assert_eq!(answer.status, status, "{method}");
    }
    // The WebSocket is still open.
    socket.send(&frame(0x89, b"x")).await.unwrap();
    assert_eq!(socket.heard().await.unwrap(), "pong x");
    drop(socket);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_the_size_limits_of_frames() {
    let engine = realtime_engine::Options { message_bytes_max: 10_000, ..options().engine };
    let listening = Fixture::start(Options { engine, ..options() }).await.listen();
    for (body, status) in [(vec![b' '; 10_009], 413), (vec![b' '; 60_000], 413), (vec![b' '; 1_000_000], 413)]
    {
        let rogue = MisbehavingClient::polling(&listening).await;
        let answer = rogue.send("POST", &[], body).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        // The connection stays open: the refused body never reached it.
        rogue
            .check(
                "POST",
                "{\"type\":1,\"invocationId\":\"1\",\"target\":\"x\",\"arguments\":[]}\u{1e}",
                &expect!["200"],
            )
            .await;
        assert!(rogue.send("GET", &[], "").await.text().contains("\"invocationId\":\"1\""));
    }
    // Parts below the limit, of a message above it.
    let rogue = MisbehavingClient::polling(&listening).await;
    rogue.check("POST", &"x".repeat(9_000), &expect!["200"]).await;
    rogue.check("POST", &"x".repeat(9_000), &expect!["200"]).await;
    let text = rogue.send("GET", &[], "").await.text();
    assert_eq!(
        text,
        "{\"type\":7,\"error\":\"a message of more than 10000 bytes is not allowed\",\"allowReconnect\":true}\u{1e}"
    );
    let rogue = MisbehavingClient::polling(&listening).await;
    for encoding in ["gzip", "br"] {
        let answer = rogue.send("POST", &[("content-encoding", encoding)], "\u{1f}").await;
        assert_eq!(answer.status, 415, "{}", answer.text());
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_messages_over_http_transports_close_with_the_reason() {
    let listening = Fixture::start(options()).await.listen();
    for (bytes, expected) in [
        (&b"nonsense\x1e"[..], "Error reading JSON."),
        (b"[6]\x1e", "Unexpected JSON Token Type 'Array'. Expected a JSON Object."),
        (b"{\"type\":1,\"target\":\"x\",\"arguments\":[\"\xff\"]}\x1e", "Error reading JSON."),
        (b"{}\x1e", "Missing required property 'type'."),
    ] {
        let rogue = MisbehavingClient::polling(&listening).await;
        assert_eq!(rogue.send("POST", &[], bytes).await.status, 200);
        let poll = rogue.send("GET", &[], "").await;
        let close = format!("{{\"type\":7,\"error\":\"{expected}\",\"allowReconnect\":true}}\u{1e}");
        assert_eq!(poll.text(), close);
        assert!(
            [204, 404].contains(&rogue.send("GET", &[], "").await.status.as_u16()),
            "the connection has ended"
        );
    }
    // The same before the handshake.
    let rogue = MisbehavingClient::negotiate(&listening, &[]).await;
    rogue.check("GET", "", &expect!["200"]).await;
    let nonsense = rogue.send("POST", &[], "nonsense\u{1e}");
    let (told, posted) = tokio::join!(rogue.send("GET", &[], ""), nonsense);
    assert_eq!(posted.status, 200);
    let told = told.text();
    assert!(told.starts_with("{\"error\":\"the first message must be a handshake"), "{told}");
    count_is(&listening, 0).await;
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_concurrent_polls_only_the_newest_receives_messages() {
    let listening = Fixture::start(Options { poll_interval_ms: 60_000, ..options() }).await.listen();
    let rogue = MisbehavingClient::polling(&listening).await;
    let mut polls = JoinSet::new();
    for _ in 0..200 {
        let rogue = rogue.clone();
        polls.spawn(async move { rogue.send("GET", &[], "").await });
    }
    // All but the newest are superseded.
    for _ in 0..199 {
        let ended = timeout(PATIENCE, polls.join_next()).await.expect("it is superseded").unwrap().unwrap();
        assert_eq!((ended.status.as_u16(), ended.text().as_str()), (204, ""));
    }
    publish(&listening, "once").await;
    let won = timeout(PATIENCE, polls.join_next()).await.expect("it has the message").unwrap().unwrap();
    assert_eq!(won.text(), "{\"type\":1,\"target\":\"m\",\"arguments\":[\"once\"]}\u{1e}");
    // The message was delivered once: the next poll receives the next message.
    publish(&listening, "twice").await;
    assert!(rogue.send("GET", &[], "").await.text().contains("[\"twice\"]"));
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_polling_is_closed() {
    let engine = realtime_engine::Options {
        disconnect_timeout_ms: 800,
        handshake_timeout_ms: 800,
        pending_bytes_max: 100_000,
        ..options().engine
    };
    let listening = Fixture::start(Options { engine, ..options() }).await.listen();
    // A poll that is never followed by another one; a client with too many pending bytes; and hundreds without a handshake.
    let _lost = MisbehavingClient::polling(&listening).await;
    let flooded = MisbehavingClient::polling(&listening).await;
    for _ in 0..20 {
        publish(&listening, &"x".repeat(20_000)).await;
    }
    let told = flooded.send("GET", &[], "").await;
    assert!([200, 204, 404].contains(&told.status.as_u16()));
    assert!(told.body.len() < 200_000, "{} bytes waited", told.body.len());
    for number in 0..300 {
        let rogue = MisbehavingClient::negotiate(&listening, &[]).await;
        if number % 2 == 0 {
            rogue.check("GET", "", &expect!["200"]).await;
        } else {
            drop(rogue.streaming(&listening).await);
        }
    }
    still_serves(&listening).await;
    count_is(&listening, 0).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_that_is_not_read_is_closed_and_others_are_served() {
    let engine = realtime_engine::Options { pending_bytes_max: 65_536, ..options().engine };
    let listening = Fixture::start(Options { engine, ..options() }).await.listen();
    let rogue = MisbehavingClient::negotiate(&listening, &[]).await;
    let lazy = rogue.streaming(&listening).await;
    rogue.check("POST", HANDSHAKE, &expect!["200"]).await;
    let mut reader = super::connected(&listening, signalr_protocol::HubProtocol::Json).await;
    // More than the buffers of both sockets.
    for number in 0..64 {
        publish(&listening, &format!("{number}{}", "v".repeat(500_000))).await;
        let heard = loop {
            let heard = reader.heard().await.unwrap();
            if heard != "text {\"type\":6}\u{1e}" {
                break heard;
            }
        };
        assert!(heard.contains(&format!("[\"{number}v")), "in order");
    }
    count_is(&listening, 1).await;
    assert_eq!(rogue.send("POST", &[], "{\"type\":6}\u{1e}").await.status, 404, "the connection has ended");
    drop((lazy, reader));
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extreme_claim_values_do_not_stop_the_shards() {
    let listening = Fixture::start(options()).await.listen();
    for (claim, value) in [
        ("asrs.s.cht", "18446744073709551615"),
        ("asrs.s.cht", "0"),
        ("asrs.s.cht", "-1"),
        ("asrs.s.ttl", "18446744073709551615"),
        ("asrs.s.ttl", "0"),
        ("asrs.s.htt", "4294967296"),
        ("asrs.s.uid", ""),
        ("asrs.s.aeo", "18446744073709551615"),
        ("nameid", "\u{0}\u{1e}\"\u{10ffff}"),
    ] {
        let path = format!("/client/?hub=chat&access_token={}", client_token("chat", &[(claim, value)]));
        let (mut socket, head) = RawSocket::upgrade(&listening.authority, &path, "").await.unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{claim} {value}: {head}");
        socket.send(&frame(0x81, HANDSHAKE.as_bytes())).await.unwrap();
        let heard = socket.heard().await.unwrap();
        assert!(heard == "text {}\u{1e}" || heard.starts_with("close 1008"), "{claim} {value}: {heard}");
        let rogue = MisbehavingClient::negotiate(&listening, &[(claim, value)]).await;
        rogue.check("GET", "", &expect!["200"]).await;
        rogue.check("POST", HANDSHAKE, &expect!["200"]).await;
    }
    drop(opened(&listening).await);
    still_serves(&listening).await;
    let engine = listening.fixture.handle.engine().clone();
    assert!(engine.connection_count(None).await.is_ok(), "the shards are running");
    listening.stop().await;
}
