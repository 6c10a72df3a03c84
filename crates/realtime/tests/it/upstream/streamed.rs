//! Streamed responses: their parts are forwarded while they are received.

use expect_test::expect;
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use testkit::HubClient;

use super::{Stage, call, check, completion, say};
use crate::webhook::Parts;

fn item(id: u32, item: &Value) -> String {
    format!("{}\u{1e}", json!({ "type": 2, "invocationId": id.to_string(), "item": item }))
}

/// Starts a stream; the upstream begins its response.
async fn ask(stage: &mut Stage, client: &mut HubClient, id: u32) -> Parts {
    let stream = json!({ "type": 4, "invocationId": id.to_string(), "target": "count", "arguments": [] });
    say(client, &stream).await;
    stage.webhook.next().await.answer_in_parts()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_is_forwarded_at_once_while_other_invocations_complete() {
    let mut stage = Stage::start().await;
    let mut ada = stage.ada().await;
    let parts = ask(&mut stage, &mut ada, 1).await;
    parts.send(item(1, &json!(1))).await;
    check(&mut ada, expect![[r#"{"type":2,"invocationId":"1","item":1}"#]]).await;
    // Further invocations of the client do not wait for the end of the stream.
    say(&mut ada, &call(2, "ask")).await;
    assert!(stage.webhook.take(200, completion(2)).await.starts_with("ask "));
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"2","result":2}"#]]).await;
    // A message in two parts, and two in one.
    let text = item(1, &json!("two"));
    parts.send(text[..9].to_owned()).await;
    parts.send(format!("{}{}", &text[9..], item(1, &json!(3)))).await;
    check(&mut ada, expect![[r#"{"type":2,"invocationId":"1","item":"two"}"#]]).await;
    check(&mut ada, expect![[r#"{"type":2,"invocationId":"1","item":3}"#]]).await;
    // Another stream in parallel.
    let other = ask(&mut stage, &mut ada, 3).await;
    other.send(item(3, &json!("other"))).await;
    check(&mut ada, expect![[r#"{"type":2,"invocationId":"3","item":"other"}"#]]).await;
    parts.send("{\"type\":3,\"invocationId\":\"1\"}\u{1e}").await;
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"1"}"#]]).await;
    // The stream has ended, whatever follows.
    parts.until_dropped().await;
    drop((ada, other));
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_streams_are_forwarded_in_parts_too() {
    let mut stage = Stage::start().await;
    let mut client = stage.client(HubProtocol::MessagePack, &[]).await;
    // [4, {}, "7", "count", [], []]
    client.send(b"\x0d\x96\x04\x80\xa17\xa5count\x90\x90").await.unwrap();
    let parts = stage.webhook.next().await.answer_in_parts();
    // [2, {}, "7", 1], in two pieces
    parts.send(b"\x06\x94\x02\x80".as_slice()).await;
    parts.send(b"\xa17\x01".as_slice()).await;
    assert_eq!(client.next().await.unwrap().unwrap(), b"\x94\x02\x80\xa17\x01");
    // [3, {}, "7", 2]
    parts.send(b"\x06\x94\x03\x80\xa17\x02".as_slice()).await;
    assert_eq!(client.next().await.unwrap().unwrap(), b"\x94\x03\x80\xa17\x02");
    drop(client);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_cancelled_when_its_client_cancels_or_disconnects() {
    let mut stage = Stage::start().await;
    let mut ada = stage.ada().await;
    let cancelled = ask(&mut stage, &mut ada, 1).await;
    cancelled.send(item(1, &json!(1))).await;
    ada.next_json().await.unwrap();
    say(&mut ada, &json!({ "type": 5, "invocationId": "1" })).await;
    cancelled.until_dropped().await;
    assert!(stage.webhook.take(204, "").await.contains("\"type\":5"));
    // Cancelled before its response began.
    say(&mut ada, &json!({ "type": 4, "invocationId": "2", "target": "count", "arguments": [] })).await;
    let late = stage.webhook.next().await;
    say(&mut ada, &json!({ "type": 5, "invocationId": "2" })).await;
    // The error for the next message shows that the cancel has been read.
    say(&mut ada, &call(9, &"x".repeat(2000))).await;
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "9");
    late.answer_in_parts().until_dropped().await;
    assert!(stage.webhook.take(204, "").await.contains("\"type\":5"));
    let left = ask(&mut stage, &mut ada, 3).await;
    left.send(item(3, &json!(1))).await;
    ada.next_json().await.unwrap();
    drop(ada);
    left.until_dropped().await;
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_or_interrupted_response_ends_its_stream_with_an_error() {
    let mut stage = Stage::with(|options| {
        options.upstream.answer_bytes_max = 1000.try_into().unwrap();
    })
    .await;
    let mut ada = stage.ada().await;
    let failed = async |ada: &mut HubClient, id: u32| {
        let end = ada.next_json().await.unwrap();
        assert_eq!((&end["type"], &end["invocationId"]), (&json!(3), &json!(id.to_string())), "{end}");
        end["error"].as_str().unwrap().to_owned()
    };
    for (id, part, expected) in [
        (1, "nonsense\u{1e}".to_owned(), "the upstream's response is not a hub message in json"),
        (2, item(9, &json!(1)), "the upstream's response is not a completion of this invocation"),
        (3, completion(9), "the upstream's response is not a completion of this invocation"),
        (4, item(4, &json!("x".repeat(2000))), "has a part that is not framed, or too large"),
    ] {
        let parts = ask(&mut stage, &mut ada, id).await;
        parts.send(item(id, &json!("good"))).await;
        assert_eq!(ada.next_json().await.unwrap()["item"], "good");
        parts.send(part).await;
        let error = failed(&mut ada, id).await;
        assert!(error.contains(expected), "{error}");
        parts.until_dropped().await;
    }
    // It ends within a message, or is interrupted.
    let parts = ask(&mut stage, &mut ada, 5).await;
    parts.send("{\"type\":2").await;
    drop(parts);
    assert!(failed(&mut ada, 5).await.contains("not a whole hub message"));
    let parts = ask(&mut stage, &mut ada, 6).await;
    parts.send(item(6, &json!(1))).await;
    assert_eq!(ada.next_json().await.unwrap()["item"], 1);
    parts.interrupt().await;
    assert_eq!(failed(&mut ada, 6).await, "Invocation failed, the upstream cannot be reached");
    // After a response without an end, the app continues over REST: the client receives nothing.
    let parts = ask(&mut stage, &mut ada, 7).await;
    parts.send(item(7, &json!(1))).await;
    drop(parts);
    assert_eq!(ada.next_json().await.unwrap()["item"], 1);
    say(&mut ada, &call(8, "ask")).await;
    stage.webhook.take(200, completion(8)).await;
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"8","result":8}"#]]).await;
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_stalls_times_out() {
    let mut stage =
        Stage::with(|options| options.upstream.request_timeout_ms = 200.try_into().unwrap()).await;
    let mut ada = stage.ada().await;
    let parts = ask(&mut stage, &mut ada, 1).await;
    parts.send(item(1, &json!(1))).await;
    assert_eq!(ada.next_json().await.unwrap()["item"], 1);
    let error = "Invocation failed, the upstream did not respond in time";
    assert_eq!(ada.next_json().await.unwrap()["error"], error);
    parts.until_dropped().await;
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_responses_above_the_limit_are_refused() {
    let mut stage =
        Stage::with(|options| options.upstream.streamed_answers_max = 1.try_into().unwrap()).await;
    let mut ada = stage.ada().await;
    let first = ask(&mut stage, &mut ada, 1).await;
    first.send(item(1, &json!(1))).await;
    assert_eq!(ada.next_json().await.unwrap()["item"], 1);
    let second = ask(&mut stage, &mut ada, 2).await;
    let error = "Invocation failed, too many streamed responses are being forwarded; try again later";
    assert_eq!(ada.next_json().await.unwrap()["error"], error);
    second.until_dropped().await;
    first.send(item(1, &json!(2))).await;
    assert_eq!(ada.next_json().await.unwrap()["item"], 2);
    drop(ada);
    stage.listening.stop().await;
}

/// Far more than may be pending for a client that reads only afterwards: reading from the upstream pauses, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_loses_nothing_of_a_stream() {
    let mut stage = Stage::with(|options| options.engine.pending_bytes_max = 200_000).await;
    let mut ada = stage.ada().await;
    let parts = ask(&mut stage, &mut ada, 1).await;
    let count = 3000;
    let sending = tokio::spawn(async move {
        for number in 0..count {
            parts.send(item(1, &json!([number, "x".repeat(5000)]))).await;
        }
        parts.send("{\"type\":3,\"invocationId\":\"1\"}\u{1e}").await;
    });
    for number in 0..count {
        let message = ada.next_json().await.unwrap();
        assert_eq!(message["item"][0], number, "{message}");
        if number == 0 {
            // Long enough for all buffers between them to fill.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        }
    }
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"1"}"#]]).await;
    sending.await.unwrap();
    drop(ada);
    stage.listening.stop().await;
}
