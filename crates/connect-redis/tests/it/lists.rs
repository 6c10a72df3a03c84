//! `redisListTrigger`.

use functions_contract::Value;
use serde_json::json;

use crate::server::{Server, connector, has_nothing, metadata, next, open, text};

async fn push(server: &Server, values: &[&[u8]]) {
    let mut client = server.client().await;
    redis::cmd("RPUSH").arg("orders").arg(values).exec_async(&mut client).await.unwrap();
}

async fn keys(server: &Server) -> Vec<String> {
    redis::cmd("KEYS").arg("*").query_async(&mut server.client().await).await.unwrap()
}

#[tokio::test]
async fn entries_come_from_the_end_of_the_list_that_the_trigger_names() {
    let server = Server::start(&[]);
    let host = connector("host", 30_000);
    for (direction, expected) in
        [(json!("LEFT"), ["a", "b"]), (json!("right"), ["b", "a"]), (json!(1), ["b", "a"])]
    {
        push(&server, &[b"a", b"b"]).await;
        let properties = json!({"key": "orders", "listDirection": direction});
        let mut source = open(&host, &server.settings(), "redisListTrigger", properties).await;
        for value in expected {
            let delivery = next(&mut source).await;
            assert_eq!(text(&delivery.batch.data), value);
            assert_eq!(metadata(&delivery, "Key"), &Value::Text("orders".into()));
            assert_eq!(metadata(&delivery, "Value"), &Value::Text(value.into()));
            assert_eq!(delivery.batch.reason, "New entries in the list 'orders'");
            delivery.complete().await.unwrap();
        }
        source.close().await;
        assert!(keys(&server).await.is_empty(), "nothing is left behind");
    }
}

#[tokio::test]
async fn a_batch_is_several_values_and_their_count() {
    let server = Server::start(&[]);
    push(&server, &[b"{\"a\":1}", b"plain", b"\xff\x00"]).await;
    let properties = json!({"key": "orders", "cardinality": "many"});
    let mut source =
        open(&connector("host", 30_000), &server.settings(), "redisListTrigger", properties).await;
    let delivery = next(&mut source).await;
    let bytes = Value::Bytes(vec![0xff, 0x00].into());
    let expected = vec![Value::Text("{\"a\":1}".into()), Value::Text("plain".into()), bytes];
    assert_eq!(delivery.batch.data, Value::Many(expected));
    assert_eq!(metadata(&delivery, "Count"), &Value::Integer(3));
    delivery.complete().await.unwrap();
    source.close().await;
}

#[tokio::test]
async fn entries_in_flight_at_a_kill_come_again_in_their_order_and_others_do_not() {
    let server = Server::start(&[]);
    push(&server, &[b"a", b"b", b"c", b"d"]).await;
    let properties = json!({"key": "orders", "maxBatchSize": 3});
    let mut source =
        open(&connector("host", 30_000), &server.settings(), "redisListTrigger", properties.clone()).await;
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(next(&mut source).await);
    }
    deliveries.remove(1).complete().await.unwrap();
    // As after kill -9: nothing is closed or dropped, and the next process has the name of this one.
    let _killed = (deliveries, source);
    let mut source =
        open(&connector("host", 30_000), &server.settings(), "redisListTrigger", properties).await;
    for expected in ["a", "c", "d"] {
        let delivery = next(&mut source).await;
        assert_eq!(text(&delivery.batch.data), expected);
        delivery.complete().await.unwrap();
    }
    assert!(has_nothing(&mut source).await);
    source.close().await;
    assert!(keys(&server).await.is_empty());
}

#[tokio::test]
async fn two_functions_share_a_list_and_each_entry_reaches_one_of_them() {
    let server = Server::start(&[]);
    let host = connector("host", 30_000);
    let properties = json!({"key": "orders", "maxBatchSize": 1});
    let mut first = open(&host, &server.settings(), "redisListTrigger", properties.clone()).await;
    let mut second = open(&host, &server.settings(), "redisListTrigger", properties).await;
    push(&server, &[b"a", b"b"]).await;
    let (one, other) = (next(&mut first).await, next(&mut second).await);
    let mut seen = [text(&one.batch.data), text(&other.batch.data)];
    seen.sort();
    assert_eq!(seen, ["a", "b"]);
}
