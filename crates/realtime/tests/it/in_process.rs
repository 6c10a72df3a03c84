//! An upstream of this process: it gets events without HTTP, in the order and with the acknowledgement of one over the network. The test
//! plays the upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use expect_test::expect;
use http::{Request, Response, StatusCode};
use realtime::upstream::InProcessUpstream;
use serde_json::json;
use signalr_protocol::HubProtocol;
use tokio::sync::{mpsc, oneshot};

use crate::events::{dead_letters, leave};
use crate::fixture::{Fixture, Listening, options};
use crate::upstream::{call, check, completion, connect, say, with_template};
use crate::webhook::Webhook;

/// What the upstream says to one event.
type Answer = Result<Option<Response<Bytes>>, String>;

/// One event that the service handed over.
struct Received {
    request: Request<Bytes>,
    answer: oneshot::Sender<Answer>,
}

impl Received {
    fn shown(&self) -> String {
        let event = self.request.headers()["x-asrs-event"].to_str().unwrap();
        format!("{event} {}", String::from_utf8_lossy(self.request.body()))
    }

    fn answer(self, status: u16, body: impl Into<Bytes>) {
        let mut response = Response::new(body.into());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        assert!(self.answer.send(Ok(Some(response))).is_ok(), "the service still waits");
    }
}

/// An upstream that wants every event of the hub `chat` but those of the method `other`, as long as it is not told to stop.
struct Scripted {
    received: mpsc::UnboundedSender<Received>,
    is_wanted: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl InProcessUpstream for Scripted {
    fn concerns(&self, hub: &str) -> bool {
        hub == "chat"
    }

    fn wants(&self, hub: &str, _: &str, event: &str) -> bool {
        hub == "chat" && event != "other" && self.is_wanted.load(Ordering::SeqCst)
    }

    async fn send(&self, request: Request<Bytes>) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.received.send(Received { request, answer }).map_err(|_| "the test has ended".to_owned())?;
        answered.await.unwrap_or_else(|_| Err("the app is not there".to_owned()))
    }
}

struct Stage {
    listening: Listening,
    received: mpsc::UnboundedReceiver<Received>,
    is_wanted: Arc<AtomicBool>,
}

impl Stage {
    async fn start(options: realtime::Options) -> Self {
        let fixture = Fixture::start(options).await;
        let (sender, received) = mpsc::unbounded_channel();
        let is_wanted = Arc::new(AtomicBool::new(true));
        let upstream = Scripted { received: sender, is_wanted: Arc::clone(&is_wanted) };
        fixture.handle.add_in_process_upstream(Arc::new(upstream));
        Self { listening: fixture.listen(), received, is_wanted }
    }

    async fn next(&mut self) -> Received {
        self.received.recv().await.expect("the service lives")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_connection_are_handed_over_one_after_the_other() {
    let mut stage = Stage::start(options()).await;
    let mut ada = connect(&stage.listening, HubProtocol::Json, &[("nameid", "ada")]).await;
    say(&mut ada, &call(1, "add")).await;
    say(&mut ada, &call(2, "add")).await;
    let connected = stage.next().await;
    assert_eq!(connected.shown(), r#"connected {"type":10}"#);
    assert_eq!(connected.request.headers()["x-asrs-user-id"], "ada");
    assert!(connected.request.headers().contains_key("x-asrs-signature"));
    assert!(stage.received.is_empty(), "invocations wait until `connected` is acknowledged");
    connected.answer(200, "");
    let first = stage.next().await;
    assert_eq!(first.shown(), format!("add {}", call(1, "add")));
    assert!(stage.received.is_empty(), "the second invocation waits for the first");
    first.answer(200, completion(1));
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"1","result":1}"#]]).await;
    stage.next().await.answer(500, "");
    check(
        &mut ada,
        expect![[r#"{"type":3,"invocationId":"2","error":"Invocation failed, status code 500"}"#]],
    )
    .await;
    leave(ada).await;
    let disconnected = stage.next().await;
    assert_eq!(disconnected.shown(), r#"disconnected {"type":11}"#);
    disconnected.answer(200, "");
    dead_letters(&stage.listening, expect![""]).await;
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_event_is_delivered_again_until_the_upstream_is_there() {
    let mut options = options();
    options.events.backoff_first_ms = 1.try_into().unwrap();
    options.events.backoff_max_ms = 5.try_into().unwrap();
    let mut stage = Stage::start(options).await;
    let mut ada = connect(&stage.listening, HubProtocol::Json, &[]).await;
    // It is not there, then busy, then it answers.
    drop(stage.next().await);
    stage.next().await.answer(503, "");
    stage.next().await.answer(200, "");
    say(&mut ada, &call(1, "add")).await;
    drop(stage.next().await);
    let error = ada.next_json().await.unwrap();
    assert_eq!(error["error"], "Invocation failed, the upstream cannot be reached");
    leave(ada).await;
    stage.next().await.answer(200, "");
    dead_letters(&stage.listening, expect![""]).await;
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_listener_accepts_is_not_a_dead_letter() {
    let mut stage = Stage::start(options()).await;
    let mut ada = connect(&stage.listening, HubProtocol::Json, &[]).await;
    assert!(stage.next().await.answer.send(Ok(None)).is_ok());
    say(&mut ada, &call(1, "add")).await;
    assert!(stage.next().await.answer.send(Ok(None)).is_ok());
    let error = ada.next_json().await.unwrap();
    assert_eq!(error["error"], "Invocation failed, the upstream cannot be reached");
    say(&mut ada, &call(2, "other")).await;
    let error = ada.next_json().await.unwrap();
    let text = error["error"].as_str().unwrap();
    assert!(text.contains("no upstream is configured for method 'other' of hub chat"), "{text}");
    stage.is_wanted.store(false, Ordering::SeqCst);
    leave(ada).await;
    dead_letters(&stage.listening, expect![""]).await;
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_matches_comes_before_the_upstream_of_this_process() {
    let mut webhook = Webhook::start();
    let mut stage = Stage::start(with_template(&webhook, "messages")).await;
    let mut ada = connect(&stage.listening, HubProtocol::Json, &[]).await;
    stage.next().await.answer(200, "");
    say(&mut ada, &json!({ "type": 1, "target": "send", "arguments": [] })).await;
    assert_eq!(webhook.take(200, "").await, r#"send {"type":1,"target":"send","arguments":[]}"#);
    leave(ada).await;
    stage.next().await.answer(200, "");
    stage.listening.stop().await;
}
