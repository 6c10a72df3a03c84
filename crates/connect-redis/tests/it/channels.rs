//! `redisPubSubTrigger`.

use functions_contract::Source;
use serde_json::json;

use crate::server::{PATIENCE, Server, connector, metadata, next, open, text};

/// Publishes once the subscription is there.
async fn publish(server: &Server, channel: &str, message: &str) {
    let mut client = server.client().await;
    let published = async {
        loop {
            let mut command = redis::cmd("PUBLISH");
            let receivers: i64 = command.arg(channel).arg(message).query_async(&mut client).await.unwrap();
            if receivers > 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, published).await.expect("somebody subscribes");
}

async fn first(source: &mut Box<dyn Source>, server: &Server, channel: &str, message: &str) -> String {
    let (delivery, ()) = tokio::join!(next(source), publish(server, channel, message));
    let data = text(&delivery.batch.data);
    delivery.complete().await.unwrap();
    data
}

#[tokio::test]
async fn messages_of_a_channel_come_one_after_the_other_as_json() {
    let server = Server::start(&[]);
    let mut source =
        open(&connector("host", 1), &server.settings(), "redisPubSubTrigger", json!({"channel": "news"}))
            .await;
    let data = first(&mut source, &server, "news", "hello").await;
    assert_eq!(data, r#"{"SubscriptionChannel":"news","Channel":"news","Message":"hello"}"#);
    publish(&server, "news", "second").await;
    publish(&server, "news", "third").await;
    let second = next(&mut source).await;
    assert_eq!(text(metadata(&second, "Message")), "second");
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(100), source.next()).await;
    assert!(waiting.is_err(), "the second is not settled");
    second.abandon().await.unwrap();
    for expected in ["second", "third"] {
        let delivery = next(&mut source).await;
        assert_eq!(text(metadata(&delivery, "Message")), expected);
        delivery.complete().await.unwrap();
    }
    source.close().await;
}

#[tokio::test]
async fn a_pattern_subscribes_to_all_channels_that_match() {
    let server = Server::start(&["--notify-keyspace-events", "KEA"]);
    let properties = json!({"channel": "__keyspace@0__:user*", "pattern": true});
    let mut source = open(&connector("host", 1), &server.settings(), "redisPubSubTrigger", properties).await;
    first(&mut source, &server, "__keyspace@0__:user", "warm-up").await;
    redis::cmd("SET").arg("user:7").arg("x").exec_async(&mut server.client().await).await.unwrap();
    let delivery = next(&mut source).await;
    assert_eq!(
        text(&delivery.batch.data),
        r#"{"SubscriptionChannel":"__keyspace@0__:user*","Channel":"__keyspace@0__:user:7","Message":"set"}"#
    );
    source.close().await;
}

#[tokio::test]
async fn a_subscription_whose_connection_breaks_fails_and_the_next_one_receives_again() {
    let mut server = Server::start(&[]);
    let host = connector("host", 1);
    let properties = json!({"channel": "news"});
    let mut source = open(&host, &server.settings(), "redisPubSubTrigger", properties.clone()).await;
    first(&mut source, &server, "news", "before").await;
    server.kill();
    let error =
        tokio::time::timeout(PATIENCE, source.next()).await.expect("it ends").unwrap_err().to_string();
    let address = format!("127.0.0.1:{}", server.port);
    assert_eq!(
        error,
        format!(
            "subscribe to the channel 'news' for function 'work': the connection to Redis at {address} broke"
        )
    );
    source.close().await;
    server.restart();
    let mut source = open(&host, &server.settings(), "redisPubSubTrigger", properties).await;
    assert!(first(&mut source, &server, "news", "after").await.contains("after"));
    source.close().await;
}
