//! The suite of [`Relay`]: one test or more for each guarantee.

use std::sync::Arc;

use bytes::Bytes;

use super::{Backend, instance, name, not_yet, soon};
use crate::{Relay, RelayMessage, Subscription};

/// Makes a `#[tokio::test]` of each test of this suite; the argument is the path of an async factory of a
/// [`Backend`].
#[macro_export]
macro_rules! relay_suite {
    ($make:path) => {
        $crate::suite_tests!(
            $make,
            relay,
            [
                g1_each_subscription_gets_a_message_once,
                g1_who_subscribes_later_sees_nothing_earlier,
                g1_a_dropped_subscription_ends,
                g2_messages_of_one_publisher_keep_their_order,
                g3_a_slow_subscriber_is_told_what_it_missed,
                g3_a_slow_subscriber_does_not_hold_up_others,
                g4_a_publisher_hears_itself_with_headers,
                next_is_cancel_safe,
                relay_subjects_and_instances_are_isolated,
            ]
        );
    };
}

fn message(subject: &str, body: &str) -> RelayMessage {
    RelayMessage { subject: name(subject), headers: Vec::new(), body: Bytes::from(body.to_owned()) }
}

async fn publish(relay: &Arc<dyn Relay>, subject: &str, body: &str) {
    relay.publish(&instance("a"), message(subject, body)).await.expect("publish works");
}

async fn subscribe(relay: &Arc<dyn Relay>, subject: &str, pending_max: usize) -> Box<dyn Subscription> {
    relay.subscribe(&instance("a"), &name(subject), pending_max).await.expect("subscribe works")
}

/// The next message's body as text, and the number missed before it.
async fn next(subscription: &mut Box<dyn Subscription>) -> (String, u64) {
    let (message, missed) = soon("a message", subscription.next()).await.expect("the relay is open");
    (String::from_utf8_lossy(&message.body).into_owned(), missed)
}

/// Guarantee 1.
pub async fn g1_each_subscription_gets_a_message_once(backend: impl Backend) {
    let relay = backend.relay();
    let mut all = [subscribe(&relay, "s", 10).await, subscribe(&relay, "s", 10).await];
    publish(&relay, "s", "1").await;
    publish(&relay, "s", "2").await;
    for subscription in &mut all {
        assert_eq!(next(subscription).await, ("1".to_owned(), 0));
        assert_eq!(next(subscription).await, ("2".to_owned(), 0));
        not_yet("a third message", &mut subscription.next()).await;
    }
}

/// Guarantee 1.
pub async fn g1_who_subscribes_later_sees_nothing_earlier(backend: impl Backend) {
    let relay = backend.relay();
    publish(&relay, "s", "early").await;
    let mut subscription = subscribe(&relay, "s", 10).await;
    publish(&relay, "s", "late").await;
    assert_eq!(next(&mut subscription).await, ("late".to_owned(), 0));
}

/// Guarantee 1: and its going does not disturb the others.
pub async fn g1_a_dropped_subscription_ends(backend: impl Backend) {
    let relay = backend.relay();
    let gone = subscribe(&relay, "s", 1).await;
    let mut stays = subscribe(&relay, "s", 1).await;
    drop(gone);
    publish(&relay, "s", "1").await;
    assert_eq!(next(&mut stays).await, ("1".to_owned(), 0));
}

/// Guarantee 2: with many publishers at once.
pub async fn g2_messages_of_one_publisher_keep_their_order(backend: impl Backend) {
    const EACH: usize = 100;
    let relay = backend.relay();
    let mut subscription = subscribe(&relay, "s", 8 * EACH).await;
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..8 {
        let relay = relay.clone();
        publishers.spawn(async move {
            for number in 0..EACH {
                publish(&relay, "s", &format!("{publisher}/{number}")).await;
            }
        });
    }
    let mut counts = [0; 8];
    for _ in 0..8 * EACH {
        let (text, missed) = next(&mut subscription).await;
        assert_eq!(missed, 0);
        let (publisher, number) = text.split_once('/').expect("bodies have a slash");
        let count = &mut counts[publisher.parse::<usize>().expect("a publisher is a number")];
        assert_eq!(number, count.to_string());
        *count += 1;
    }
    publishers.join_all().await;
}

/// Guarantee 3: what it gets and what it missed add up.
pub async fn g3_a_slow_subscriber_is_told_what_it_missed(backend: impl Backend) {
    let relay = backend.relay();
    let mut subscription = subscribe(&relay, "s", 3).await;
    for number in 0..10 {
        publish(&relay, "s", &number.to_string()).await;
    }
    let mut seen = 0;
    for _ in 0..3 {
        seen += 1 + next(&mut subscription).await.1;
    }
    publish(&relay, "s", "last").await;
    let (text, missed) = next(&mut subscription).await;
    assert_eq!((text.as_str(), seen + missed), ("last", 10), "every message was received or counted");
}

/// Guarantee 3.
pub async fn g3_a_slow_subscriber_does_not_hold_up_others(backend: impl Backend) {
    let relay = backend.relay();
    let mut slow = subscribe(&relay, "s", 1).await;
    let mut quick = subscribe(&relay, "s", 1).await;
    for number in 0..100 {
        soon("publishing", publish(&relay, "s", &number.to_string())).await;
        assert_eq!(next(&mut quick).await, (number.to_string(), 0));
    }
    next(&mut slow).await;
}

/// Guarantee 4.
pub async fn g4_a_publisher_hears_itself_with_headers(backend: impl Backend) {
    let relay = backend.relay();
    let mut subscription = subscribe(&relay, "s", 1).await;
    let mut sent = message("s", "body");
    sent.headers.push(("traceparent".to_owned(), Bytes::from_static(b"00-ab-cd-01")));
    relay.publish(&instance("a"), sent.clone()).await.expect("publish works");
    let (got, _) = soon("the message", subscription.next()).await.expect("the relay is open");
    assert_eq!(got, sent);
}

/// See [`Subscription::next`].
pub async fn next_is_cancel_safe(backend: impl Backend) {
    let relay = backend.relay();
    let mut subscription = subscribe(&relay, "s", 2).await;
    let mut waiting = subscription.next();
    not_yet("a message", &mut waiting).await;
    publish(&relay, "s", "1").await;
    drop(waiting);
    publish(&relay, "s", "2").await;
    assert_eq!(next(&mut subscription).await, ("1".to_owned(), 0));
    assert_eq!(next(&mut subscription).await, ("2".to_owned(), 0));
}

/// See [`crate::Instance`].
pub async fn relay_subjects_and_instances_are_isolated(backend: impl Backend) {
    let relay = backend.relay();
    let mut subscription = subscribe(&relay, "s", 10).await;
    publish(&relay, "t", "other subject").await;
    relay.publish(&instance("b"), message("s", "other instance")).await.expect("publish works");
    publish(&relay, "s", "own").await;
    assert_eq!(next(&mut subscription).await.0, "own");
}
