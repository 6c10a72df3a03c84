//! The trigger by itself; the tests of the binary run it with the real client.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use functions_contract::suite::{PushFactory, PushOutcome, check_push};
use functions_contract::{PushExtension, PushFunction};
use http::Request;
use serde_json::{Value as Json, json};

use super::*;
use crate::delivery::{Schema, delivery};
use crate::routing::Routing;

fn trigger(cardinality: Cardinality, is_text: bool) -> EventGridTrigger {
    EventGridTrigger { function: "OnCard".to_owned(), cardinality, is_text, invocations_max: 3 }
}

fn post(event_type: &str, body: &str) -> PushRequest {
    let request = Request::builder()
        .method("POST")
        .uri("/runtime/webhooks/EventGrid?functionName=oncard&code=k")
        .header("content-type", "application/json; charset=utf-8")
        .header("aeg-event-type", event_type);
    request.body(Bytes::copy_from_slice(body.as_bytes())).expect("a request")
}

/// Records events, and fails for those with one of these ids.
#[derive(Default)]
struct Function {
    events: Mutex<Vec<PushEvent>>,
    failing: Vec<&'static str>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Function {
    fn events(&self) -> Vec<PushEvent> {
        std::mem::take(&mut self.events.lock().expect("no panic"))
    }
}

#[async_trait::async_trait]
impl PushFunction for Function {
    fn name(&self) -> &str {
        "OnCard"
    }

    async fn invoke(&self, event: PushEvent) -> Result<Value, PushError> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        let text = format!("{:?}", event.data);
        self.events.lock().expect("no panic").push(event);
        match self.failing.iter().find(|id| text.contains(*id)) {
            Some(&"gone") => Err(PushError::Unavailable("the worker is gone".to_owned())),
            Some(_) => Err(PushError::Function { message: "bad card".to_owned() }),
            None => Ok(Value::Null),
        }
    }
}

async fn receive(trigger: &EventGridTrigger, function: &Function, request: PushRequest) -> (u16, String) {
    let response = trigger.receive(request, function).await;
    (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
}

struct Suite;

#[async_trait::async_trait]
impl PushFactory for Suite {
    fn extension(&self) -> Arc<dyn PushExtension> {
        Arc::new(Routing)
    }

    async fn trigger(&self) -> Arc<dyn PushTrigger> {
        Arc::new(trigger(Cardinality::One, false))
    }

    fn request(&self, number: u64) -> PushRequest {
        post("Notification", &json!([{"id": "1", "data": number}]).to_string())
    }

    fn refused(&self) -> Vec<PushRequest> {
        vec![
            post("Notification", "{"),
            post("Notification", "[1]"),
            post("Other", "[{}]"),
            post("SubscriptionValidation", "[]"),
        ]
    }

    fn unknown(&self) -> PushRequest {
        Request::post("/runtime/webhooks/eventgrid?functionName=other").body(Bytes::new()).expect("a request")
    }

    fn number(&self, event: &PushEvent) -> u64 {
        let Value::Json(number) = &event.metadata[0].1 else { panic!("{event:?}") };
        number.parse().expect("a number")
    }

    fn outcome(&self, response: &PushResponse) -> PushOutcome {
        match response.status().as_u16() {
            202 => PushOutcome::Succeeded(None),
            429 | 503 => PushOutcome::Temporary,
            _ => PushOutcome::Failed,
        }
    }
}

#[tokio::test]
async fn the_trigger_keeps_the_contract_of_push_triggers() {
    check_push(&Suite).await;
}

#[tokio::test]
async fn each_event_of_a_delivery_invokes_the_function_and_a_limit_holds() {
    let (trigger, function) = (trigger(Cardinality::One, false), Function::default());
    let events: Vec<Json> = (0..9).map(|id| json!({"id": format!("e{id}"), "data": {"n": id}})).collect();
    let answered = receive(&trigger, &function, post("notification", &Json::from(events).to_string())).await;
    assert_eq!(answered, (202, String::new()));
    let events = function.events();
    assert_eq!(events.len(), 9);
    let first = events.iter().find(|event| event.data == Value::Json(r#"{"id":"e0","data":{"n":0}}"#.into()));
    let first = first.expect("the first event as it came");
    assert_eq!(first.metadata, [("data".to_owned(), Value::Json("{\"n\":0}".into()))]);
    assert!(first.reason.starts_with("EventGrid trigger fired at "), "{}", first.reason);
    assert_eq!(function.most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_function_for_many_gets_the_delivery_at_once() {
    let body = r#"[{"id":"1","data":{"a": 1.0}},{"id":"2"}]"#;
    let function = Function::default();
    assert_eq!(
        receive(&trigger(Cardinality::Many, false), &function, post("Notification", body)).await.0,
        202
    );
    let [event] = &function.events()[..] else { panic!("one invocation") };
    assert_eq!(event.data, Value::Json(body.into()));
    assert_eq!(event.metadata, [("data".to_owned(), Value::Json(r#"[{"a": 1.0},null]"#.into()))]);
    receive(&trigger(Cardinality::Many, true), &function, post("Notification", body)).await;
    let texts =
        vec![Value::Text(r#"{"id":"1","data":{"a": 1.0}}"#.into()), Value::Text(r#"{"id":"2"}"#.into())];
    assert_eq!(function.events()[0].data, Value::Many(texts));
    assert_eq!(
        receive(&trigger(Cardinality::Many, false), &function, post("Notification", "[]")).await.0,
        202
    );
    assert!(function.events().is_empty());
}

#[tokio::test]
async fn one_event_that_fails_makes_the_sender_repeat_the_delivery() {
    let trigger = trigger(Cardinality::One, false);
    let body = r#"[{"id":"good"},{"id":"bad"},{"id":"gone"},{"id":"fine"}]"#;
    let failing = |failing: &[&'static str]| Function { failing: failing.to_vec(), ..Function::default() };
    let function = failing(&["bad", "gone"]);
    assert_eq!(receive(&trigger, &function, post("Notification", body)).await, (500, "bad card".to_owned()));
    assert_eq!(function.events().len(), 4, "the others run to their end");
    let gone = failing(&["gone"]);
    let response = trigger.receive(post("Notification", body), &gone).await;
    assert_eq!(response.status().as_u16(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
}

#[tokio::test]
async fn cloud_events_invoke_the_function_with_and_without_the_headers_of_event_grid() {
    let (trigger, function) = (trigger(Cardinality::One, false), Function::default());
    let event = r#"{"specversion":"1.0","id":"1","source":"/b","type":"t","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","data":{}}"#;
    assert_eq!(receive(&trigger, &function, post("Notification", event)).await.0, 202);
    assert!(function.events()[0].parent.is_some(), "the invocation continues the trace of the event");
    for (schema, body) in
        [(Schema::CloudEvent, event.to_owned()), (Schema::CloudEventBatch, format!("[{event},{event}]"))]
    {
        let mut request = delivery("OnCard", schema, body.into());
        request.headers_mut().remove("aeg-event-type");
        assert_eq!(receive(&trigger, &function, request).await.0, 202, "{schema:?}");
    }
    assert_eq!(function.events().len(), 3);
    let plain =
        Request::post("/x").header("content-type", "application/json").body(Bytes::from_static(b"[{}]"));
    assert_eq!(receive(&trigger, &function, plain.expect("a request")).await.0, 400);
}

#[tokio::test]
async fn handshakes_reach_no_function() {
    let (trigger, function) = (trigger(Cardinality::One, false), Function::default());
    let validation = post("SubscriptionValidation", r#"[{"id":"1","data":{"validationCode":"c-1"}}]"#);
    assert_eq!(
        receive(&trigger, &function, validation).await,
        (200, r#"{"validationResponse":"c-1"}"#.to_owned())
    );
    for event_type in ["Unsubscribe", "SubscriptionDeletion"] {
        assert_eq!(receive(&trigger, &function, post(event_type, "")).await.0, 202);
    }
    let options =
        Request::options("/x").header("webhook-request-origin", "eventgrid.azure.net").body(Bytes::new());
    let response = trigger.receive(options.expect("a request"), &function).await;
    assert_eq!(response.headers()["webhook-allowed-origin"], "eventgrid.azure.net");
    assert!(function.events().is_empty());
}

#[test]
fn a_delivery_of_this_process_has_the_address_of_its_function() {
    let request = delivery("On Card", Schema::EventGrid, Bytes::from_static(b"[]"));
    assert_eq!(Routing.address(&request).ok().as_deref(), Some("on card"));
}
