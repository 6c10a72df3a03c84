//! The trigger by itself: the contract suite, the context of a function, statuses and completions. The tests of the binary run it with
//! real clients, over HTTP and in process.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use functions_contract::suite::{PushFactory, PushOutcome, check_push};
use functions_contract::{BindingSpec, Direction, PushExtension};
use http::{HeaderMap, Request};
use ring::hmac;
use serde_json::{Map, Value as Json, json};
use signalr_protocol::HubProtocol;

use super::*;

const KEY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH";

fn declaration(properties: Json) -> Declaration {
    Declaration::parse(&spec(properties)).expect("a valid declaration")
}

fn spec(properties: Json) -> BindingSpec {
    BindingSpec {
        function: "f".to_owned(),
        name: "context".to_owned(),
        kind: "signalRTrigger".to_owned(),
        direction: Direction::In,
        properties: properties.as_object().cloned().expect("an object"),
    }
}

fn trigger(properties: Json) -> SignalRTrigger {
    SignalRTrigger {
        declaration: declaration(properties),
        keys: vec![AccessKey::new(KEY).expect("a key")],
        services: vec!["realtime".to_owned()],
    }
}

fn messages() -> SignalRTrigger {
    trigger(
        json!({"hubName": "Chat", "category": "messages", "event": "Add", "parameterNames": ["first", "second"]}),
    )
}

fn signature(connection: &str, key: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), connection.as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    format!("sha256={},sha256={digits}", "0".repeat(64))
}

/// A request of the service; `change` replaces or removes headers (with an empty value).
fn request(category: &str, event: &str, body: &[u8], change: &[(&str, &str)]) -> PushRequest {
    let signature = signature("c1", KEY);
    let mut headers: Vec<(&str, &str)> = vec![
        ("content-type", "application/json"),
        ("x-asrs-connection-id", "c1"),
        ("x-asrs-hub", "chat"),
        ("x-asrs-category", category),
        ("x-asrs-event", event),
        ("x-asrs-signature", &signature),
    ];
    for (name, value) in change {
        headers.retain(|(known, _)| known != name);
        if !value.is_empty() {
            headers.push((name, value));
        }
    }
    let mut request = Request::builder().method("POST").uri("http://here/runtime/webhooks/signalr");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Bytes::copy_from_slice(body)).expect("a request")
}

fn invoke(arguments: Json) -> PushRequest {
    let message = json!({"type": 1, "invocationId": "7", "target": "add", "arguments": arguments});
    request("messages", "add", message.to_string().as_bytes(), &[])
}

/// A function that returns a value, and keeps its event.
struct Function {
    result: Mutex<Option<Result<Value, PushError>>>,
    event: Mutex<Option<PushEvent>>,
}

impl Function {
    fn new(result: Result<Value, PushError>) -> Self {
        Self { result: Mutex::new(Some(result)), event: Mutex::default() }
    }

    fn event(&self) -> PushEvent {
        self.event.lock().expect("no panic").take().expect("the function was invoked")
    }

    fn was_invoked(&self) -> bool {
        self.event.lock().expect("no panic").is_some()
    }
}

#[async_trait::async_trait]
impl PushFunction for Function {
    fn name(&self) -> &str {
        "f"
    }

    async fn invoke(&self, event: PushEvent) -> Result<Value, PushError> {
        *self.event.lock().expect("no panic") = Some(event);
        self.result.lock().expect("no panic").take().expect("invoked once")
    }
}

fn failed() -> Result<Value, PushError> {
    Err(PushError::Function { message: "bad".to_owned() })
}

async fn answer(
    trigger: &SignalRTrigger,
    request: PushRequest,
    result: Result<Value, PushError>,
) -> (u16, String) {
    let response = trigger.receive(request, &Function::new(result)).await;
    (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
}

struct Suite;

#[async_trait::async_trait]
impl PushFactory for Suite {
    fn extension(&self) -> Arc<dyn PushExtension> {
        Arc::new(Routing)
    }

    async fn trigger(&self) -> Arc<dyn PushTrigger> {
        Arc::new(messages())
    }

    fn request(&self, number: u64) -> PushRequest {
        invoke(json!([number, "x"]))
    }

    fn refused(&self) -> Vec<PushRequest> {
        let body = br#"{"type":1,"invocationId":"7","target":"add","arguments":[1,2]}"#;
        let forged = signature("c1", "another key");
        vec![
            request("messages", "add", body, &[("x-asrs-signature", &forged)]),
            request("messages", "add", body, &[("x-asrs-signature", "")]),
            request("messages", "add", body, &[("x-asrs-connection-id", "c2")]),
            request("messages", "add", body, &[("x-asrs-connection-id", "")]),
            request("messages", "add", b"{", &[]),
            request(
                "messages",
                "add",
                br#"{"type":4,"invocationId":"7","target":"add","arguments":[1,2]}"#,
                &[],
            ),
            request("messages", "add", br#"{"type":1,"target":"other","arguments":[1,2]}"#, &[]),
        ]
    }

    fn unknown(&self) -> PushRequest {
        request("messages", "other", b"{}", &[])
    }

    fn number(&self, event: &PushEvent) -> u64 {
        let Value::Json(number) = &event.metadata[0].1 else { panic!("{event:?}") };
        number.parse().expect("a number")
    }

    fn outcome(&self, response: &PushResponse) -> PushOutcome {
        match response.status().as_u16() {
            200 => {
                let text = response.body().strip_suffix(b"\x1e").expect("framed");
                let completion: Json = serde_json::from_slice(text).expect("JSON");
                match completion.get("error") {
                    Some(_) => PushOutcome::Failed,
                    None => PushOutcome::Succeeded(completion["result"].as_u64()),
                }
            }
            429 | 503 => PushOutcome::Temporary,
            _ => PushOutcome::Failed,
        }
    }
}

#[tokio::test]
async fn the_trigger_keeps_the_contract_of_push_triggers() {
    check_push(&Suite).await;
}

#[test]
fn a_request_without_form_or_function_has_the_status_of_the_extension() {
    let status = |request: &PushRequest| match Routing.address(request) {
        Ok(_) => Routing.not_found(request).status().as_u16(),
        Err(response) => response.status().as_u16(),
    };
    assert_eq!(status(&request("messages", "x", b"", &[("content-type", "text/plain")])), 415);
    assert_eq!(status(&request("messages", "x", b"", &[("content-type", "")])), 415);
    assert_eq!(status(&request("messages", "x", b"", &[("x-asrs-hub", "")])), 400);
    assert_eq!(status(&request("messages", "", b"", &[("x-asrs-event", "")])), 400);
    let typed = ("content-type", "application/json; charset=utf-8");
    assert_eq!(status(&request("messages", "x", b"", &[typed])), 404);
}

#[test]
fn addresses_are_case_insensitive_and_identify_the_service() {
    let by_http = Routing.address(&request("MESSAGES", "ADD", b"", &[]));
    assert_eq!(by_http.ok(), Some(trigger_address(None, "CHAT", "messages", "add")));
    let mut from_here = request("messages", "add", b"", &[]);
    from_here.extensions_mut().insert(InProcessCaller("realtime".to_owned()));
    let in_process = Routing.address(&from_here).ok();
    assert_eq!(in_process, Some(trigger_address(Some("realtime"), "chat", "messages", "add")));
    let addresses = messages().addresses();
    assert!(addresses.contains(&in_process.expect("an address")), "{addresses:?}");
    assert!(!addresses.contains(&trigger_address(Some("realtime.other"), "chat", "messages", "add")));
}

#[tokio::test]
async fn a_service_of_this_process_needs_no_signature() {
    let body = br#"{"type":1,"invocationId":"7","target":"add","arguments":[1,2]}"#;
    let mut unsigned = request("messages", "add", body, &[("x-asrs-signature", "")]);
    unsigned.extensions_mut().insert(InProcessCaller("realtime".to_owned()));
    let (status, body) = answer(&messages(), unsigned, Ok(Value::Integer(3))).await;
    assert_eq!((status, body.as_str()), (200, "{\"type\":3,\"invocationId\":\"7\",\"result\":3}\u{1e}"));
}

#[tokio::test]
async fn the_function_gets_the_context_of_the_extension_and_its_parameters() {
    let request = request(
        "messages",
        "add",
        br#"{"type":1,"target":"Add","arguments":[{"b":1, "a":2.50},"two"]}"#,
        &[
            ("x-asrs-user-id", "ada"),
            ("x-asrs-user-claims", "nameid: ada, role: a, role: b, http://x: y, odd"),
            ("x-asrs-client-query", "?hub=chat&a=1&a=2&b=%26"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ],
    );
    let function = Function::new(Ok(Value::Null));
    let response = messages().receive(request, &function).await;
    assert_eq!((response.status().as_u16(), response.body().len()), (200, 0), "the client waits for nothing");
    let event = function.event();
    let Value::Json(context) = &event.data else { panic!("{event:?}") };
    let signature = signature("c1", KEY);
    let expected = json!({
        "Arguments": [{"b": 1, "a": 2.5}, "two"], "Error": null, "Category": "messages", "Event": "add", "Hub": "chat",
        "ConnectionId": "c1", "UserId": "ada",
        "Headers": {
            "X-ASRS-Connection-Id": "c1", "X-ASRS-Hub": "chat", "X-ASRS-Category": "messages", "X-ASRS-Event": "add",
            "X-ASRS-Signature": signature, "X-ASRS-User-Id": "ada",
            "X-ASRS-User-Claims": "nameid: ada, role: a, role: b, http://x: y, odd",
            "X-ASRS-Client-Query": "?hub=chat&a=1&a=2&b=%26",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
        "Query": {"hub": "chat", "a": "1,2", "b": "&"},
        "Claims": {"nameid": "ada", "role": "a", "http://x": "y"},
    });
    let parsed: Json = serde_json::from_str(context).expect("JSON");
    assert_eq!(parsed, expected);
    let names: Vec<_> = parsed.as_object().expect("an object").keys().map(String::as_str).collect();
    let order = [
        "Arguments",
        "Error",
        "Category",
        "Event",
        "Hub",
        "ConnectionId",
        "UserId",
        "Headers",
        "Query",
        "Claims",
    ];
    assert_eq!(names, order);
    assert!(context.contains("2.50"), "numbers keep their text: {context}");
    assert_eq!(
        event.metadata,
        [
            ("first".to_owned(), Value::Json(r#"{"b":1, "a":2.50}"#.into())),
            ("second".to_owned(), Value::Text("two".into())),
        ]
    );
    assert!(event.parent.is_some(), "the invocation continues the trace of the service");
}

#[test]
fn claims_of_our_service_are_exact_even_with_commas() {
    let encoded = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        r#"[{"type":"name","value":"Müller, role: admin"},{"type":"name","value":"b"}]"#,
    );
    let exact = claims::claims("name: M%C3%BCller%2C role: admin", &encoded);
    assert_eq!(exact, Some(Map::from_iter([("name".to_owned(), "Müller, role: admin".into())])));
    assert_eq!(claims::claims("", ""), None);
    assert_eq!(claims::claims("a: b", "no base64!"), Some(Map::from_iter([("a".to_owned(), "b".into())])));
}

#[test]
fn only_text_of_our_service_is_decoded() {
    let mut headers = HeaderMap::new();
    headers.insert("x-asrs-user-id", "a%0A".parse().expect("a value"));
    assert_eq!(UpstreamHeaders(&headers).text("user-id"), "a%0A");
    headers.insert("x-chappe-hub-protocol", "json".parse().expect("a value"));
    assert_eq!(UpstreamHeaders(&headers).text("user-id"), "a\n");
}

#[tokio::test]
async fn a_completion_has_the_result_or_the_message_of_the_exception() {
    let trigger = messages();
    let check = async |result, expected: &str| {
        let (status, body) = answer(&trigger, invoke(json!([1, 2])), result).await;
        assert_eq!((status, body.as_str()), (200, format!("{expected}\u{1e}").as_str()));
    };
    check(Ok(Value::Null), r#"{"type":3,"invocationId":"7","result":null}"#).await;
    check(Ok(Value::Text("t".into())), r#"{"type":3,"invocationId":"7","result":"t"}"#).await;
    check(Ok(Value::Json("{\"a\": 1.50}".into())), r#"{"type":3,"invocationId":"7","result":{"a": 1.50}}"#)
        .await;
    check(Ok(Value::Bytes(Bytes::from_static(b"\0"))), r#"{"type":3,"invocationId":"7","result":"AA=="}"#)
        .await;
    check(failed(), r#"{"type":3,"invocationId":"7","error":"bad"}"#).await;
    let host = Err(PushError::Host("internal detail".to_owned()));
    check(host, r#"{"type":3,"invocationId":"7","error":"Method execution failed."}"#).await;
}

#[tokio::test]
async fn arguments_that_do_not_fit_the_parameters_are_an_error_of_the_invocation() {
    let function = Function::new(Ok(Value::Null));
    let response = messages().receive(invoke(json!([1])), &function).await;
    assert!(!function.was_invoked());
    let text = String::from_utf8_lossy(response.body()).into_owned();
    assert!(text.contains("The function accept 2 arguments but message provided 1."), "{text}");
}

#[tokio::test]
async fn messagepack_is_read_and_answered() {
    let trigger = trigger(json!({"hubName": "chat", "category": "messages", "event": "add"}));
    // [1, {}, "7", "add", [1, "x", bin 0xff], []]
    let body = b"\x96\x01\x80\xa1\x37\xa3add\x93\x01\xa1x\xc4\x01\xff\x90";
    let typed = ("content-type", "application/x-msgpack");
    let function = Function::new(Ok(Value::Json("{\"sum\":3}".into())));
    let response = trigger.receive(request("messages", "add", body, &[typed]), &function).await;
    let Value::Json(context) = function.event().data else { panic!("JSON") };
    assert!(context.starts_with(r#"{"Arguments":[1,"x","/w=="],"Error":null,"#), "{context}");
    // A length, then [3, {}, "7", 3, {"sum": 3}].
    assert_eq!(&response.body()[..], b"\x0c\x95\x03\x80\xa1\x37\x03\x81\xa3sum\x03");
    let (completion, used) = signalr_protocol::next_message(HubProtocol::MessagePack, response.body(), 100)
        .expect("framed")
        .expect("whole");
    assert_eq!(used, response.body().len());
    signalr_protocol::parse(HubProtocol::MessagePack, completion).expect("a hub message");
}

#[tokio::test]
async fn connection_events_have_the_statuses_of_the_extension() {
    let connections =
        |event: &str| trigger(json!({"hubName": "chat", "category": "Connections", "event": event}));
    let (connected, disconnected) = (connections("connected"), connections("Disconnected"));
    let open = || request("connections", "connected", br#"{"type":10}"#, &[]);
    let close = || request("connections", "disconnected", br#"{"Type":11,"Error":"gone"}"#, &[]);
    let status = async |trigger: &SignalRTrigger, request, result| answer(trigger, request, result).await.0;
    assert_eq!(status(&connected, open(), Ok(Value::Null)).await, 200);
    assert_eq!(status(&connected, open(), failed()).await, 403);
    assert_eq!(status(&disconnected, close(), Ok(Value::Null)).await, 200);
    assert_eq!(status(&disconnected, close(), failed()).await, 200);
    for trigger in [&connected, &disconnected] {
        let request = if trigger.declaration.kind == TriggerEvent::Connected { open() } else { close() };
        let gone = Err(PushError::Unavailable("gone".to_owned()));
        assert_eq!(status(trigger, request, gone).await, 503, "the service tells of it again");
    }
    let function = Function::new(Ok(Value::Null));
    disconnected.receive(close(), &function).await;
    let Value::Json(context) = function.event().data else { panic!("JSON") };
    assert!(
        context.starts_with(r#"{"Arguments":null,"Error":"gone","Category":"connections","#),
        "{context}"
    );
    assert!(
        context.contains(r#""UserId":null,"#) && context.ends_with(r#""Query":null,"Claims":null}"#),
        "{context}"
    );
}

#[test]
fn an_invalid_declaration_says_what_to_write() {
    let check = |properties: Json, expected: &str| {
        let error = Declaration::parse(&spec(properties)).expect_err("invalid").to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(json!({}), "the signalRTrigger of function 'f' needs hubName");
    check(json!({"hubName": "h", "event": "e"}), "needs category, such as \"messages\"");
    check(json!({"hubName": "h", "category": "messages"}), "needs event");
    check(
        json!({"hubName": "h", "category": "rooms", "event": "e"}),
        "has category \"rooms\", which does not exist",
    );
    check(json!({"hubName": "h", "category": "connections", "event": "e"}), "use connected or disconnected");
    let twice = json!({"hubName": "h", "category": "messages", "event": "e", "parameterNames": ["a", "A"]});
    check(twice, "has a name twice in parameterNames");
}
