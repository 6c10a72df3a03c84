//! `redisStreamTrigger`.

use functions_contract::Value;
use serde_json::{Value as Json, json};

use crate::server::{Server, connector, has_nothing, metadata, next, open, text};

async fn add(server: &Server, fields: &[&str]) -> String {
    let mut client = server.client().await;
    redis::cmd("XADD").arg("events").arg("*").arg(fields).query_async(&mut client).await.unwrap()
}

async fn pending(server: &Server) -> i64 {
    let mut client = server.client().await;
    let summary: Vec<redis::Value> =
        redis::cmd("XPENDING").arg("events").arg("Functions.work").query_async(&mut client).await.unwrap();
    redis::from_redis_value(summary[0].clone()).unwrap()
}

#[tokio::test]
async fn an_entry_is_json_with_its_id_and_values_and_is_acknowledged() {
    let server = Server::start(&[]);
    let host = connector("host", 30_000);
    // Written before the function starts: the group begins with the oldest entry.
    let id = add(&server, &["name", "Ada", "age", "36"]).await;
    let mut source = open(&host, &server.settings(), "redisStreamTrigger", json!({"key": "events"})).await;
    let delivery = next(&mut source).await;
    assert_eq!(
        text(&delivery.batch.data),
        format!(r#"{{"Id":"{id}","Values":{{"name":"Ada","age":"36"}}}}"#)
    );
    assert_eq!((delivery.id.as_str(), delivery.delivery_count), (id.as_str(), Some(1)));
    assert_eq!(metadata(&delivery, "Key"), &Value::Text("events".into()));
    assert_eq!(metadata(&delivery, "Id"), &Value::Text(id.into()));
    assert_eq!(metadata(&delivery, "Values"), &Value::Json(r#"{"name":"Ada","age":"36"}"#.into()));
    assert_eq!(pending(&server).await, 1);
    delivery.complete().await.unwrap();
    assert_eq!(pending(&server).await, 0);
    source.close().await;
}

#[tokio::test]
async fn a_batch_is_several_entries_and_their_count() {
    let server = Server::start(&[]);
    for number in ["1", "2", "3"] {
        add(&server, &["n", number]).await;
    }
    let properties = json!({"key": "events", "maxBatchSize": 2, "cardinality": "many"});
    let mut source =
        open(&connector("host", 30_000), &server.settings(), "redisStreamTrigger", properties).await;
    let delivery = next(&mut source).await;
    let Value::Many(entries) = &delivery.batch.data else { panic!("several entries") };
    let numbers: Vec<Json> =
        entries.iter().map(|entry| serde_json::from_str(&text(entry)).unwrap()).collect();
    assert_eq!((&numbers[0]["Values"]["n"], &numbers[1]["Values"]["n"]), (&json!("1"), &json!("2")));
    assert_eq!(metadata(&delivery, "Count"), &Value::Integer(2));
    delivery.complete().await.unwrap();
    assert_eq!(source.backlog().await.unwrap().items, 1);
    source.close().await;
}

#[tokio::test]
async fn entries_that_a_dead_consumer_of_another_host_left_are_claimed_after_the_lock() {
    let server = Server::start(&[]);
    add(&server, &["n", "1"]).await;
    let host = connector("host", 300);
    let mut source = open(&host, &server.settings(), "redisStreamTrigger", json!({"key": "events"})).await;
    next(&mut source).await.complete().await.unwrap();
    let left = add(&server, &["n", "2"]).await;
    let mut client = server.client().await;
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg("Functions.work").arg("somebody-else").arg("STREAMS").arg("events").arg(">");
    read.exec_async(&mut client).await.unwrap();
    let delivery = next(&mut source).await;
    assert_eq!((delivery.id.as_str(), delivery.delivery_count), (left.as_str(), Some(2)));
    delivery.complete().await.unwrap();
    source.close().await;
}

#[tokio::test]
async fn entries_in_flight_at_a_kill_come_again_at_once_and_acknowledged_ones_do_not() {
    let server = Server::start(&[]);
    for number in ["1", "2", "3"] {
        add(&server, &["n", number]).await;
    }
    let properties = json!({"key": "events"});
    let mut source =
        open(&connector("host", 30_000), &server.settings(), "redisStreamTrigger", properties.clone()).await;
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(next(&mut source).await);
    }
    let done = deliveries.remove(1);
    let mut expected: Vec<String> = deliveries.iter().map(|delivery| delivery.id.clone()).collect();
    done.complete().await.unwrap();
    // As after kill -9: nothing is closed or dropped, and the next process has the name of this one.
    let _killed = (deliveries, source);
    let mut source =
        open(&connector("host", 30_000), &server.settings(), "redisStreamTrigger", properties).await;
    while !expected.is_empty() {
        let delivery = next(&mut source).await;
        assert!(expected.contains(&delivery.id), "{} was acknowledged", delivery.id);
        expected.retain(|id| *id != delivery.id);
        assert_eq!(delivery.delivery_count, Some(2));
        delivery.complete().await.unwrap();
    }
    assert!(has_nothing(&mut source).await);
    source.close().await;
    let mut client = server.client().await;
    let mut info = redis::cmd("XINFO");
    let consumers: Vec<redis::Value> =
        info.arg("CONSUMERS").arg("events").arg("Functions.work").query_async(&mut client).await.unwrap();
    assert!(consumers.is_empty(), "consumers that are gone are deleted");
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_read_again_from_its_beginning() {
    let server = Server::start(&[]);
    let host = connector("host", 30_000);
    let mut source = open(&host, &server.settings(), "redisStreamTrigger", json!({"key": "events"})).await;
    add(&server, &["n", "1"]).await;
    next(&mut source).await.complete().await.unwrap();
    redis::cmd("DEL").arg("events").exec_async(&mut server.client().await).await.unwrap();
    add(&server, &["n", "2"]).await;
    let delivery = next(&mut source).await;
    assert!(text(&delivery.batch.data).contains(r#""n":"2""#));
    delivery.complete().await.unwrap();
    source.close().await;
}
