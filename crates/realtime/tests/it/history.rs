//! Methods that the service handles itself: groups by the roles of a token, and recovery of missed messages.

use std::path::Path;

use realtime::{HistoryRule, Options, SendMessage};
use realtime_engine::{GroupName, Target};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use testkit::HubClient;

use crate::fixture::{Fixture, Listening, client_token, options};

fn rule(text: &str) -> HistoryRule {
    serde_json::from_str(text).unwrap()
}

/// Stores three messages to the hub, and five of every group.
fn storing() -> Options {
    let rules = [r#"{"hub":"chat","messages":3}"#, r#"{"hub":"chat","group":"*","messages":5}"#];
    Options { history: rules.map(rule).into(), ..options() }
}

async fn client(listening: &Listening, roles: &[&str]) -> HubClient {
    let claims: Vec<(&str, &str)> = roles.iter().map(|role| ("role", *role)).collect();
    let token = client_token("chat", &claims);
    let path = format!("/client/?hub=chat&access_token={token}");
    HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap()
}

/// What a client received: its invocations in short, and the completion of its own invocation with the id "1".
struct Heard {
    calls: Vec<String>,
    answer: Value,
}

async fn until_answer(client: &mut HubClient) -> Heard {
    let mut calls = Vec::new();
    loop {
        let message = client.next_json().await.unwrap();
        match message["type"].as_u64() {
            Some(3) => return Heard { calls, answer: message },
            _ if message["target"] == "chappe.position" => {}
            _ => calls.push(short(&message)),
        }
    }
}

fn short(message: &Value) -> String {
    let arguments: Vec<String> =
        message["arguments"].as_array().unwrap().iter().map(ToString::to_string).collect();
    format!("{}({})", message["target"].as_str().unwrap(), arguments.join(","))
}

async fn invoke(client: &mut HubClient, method: &str, arguments: Value) -> Heard {
    let call = json!({ "type": 1, "invocationId": "1", "target": method, "arguments": arguments });
    client.send(format!("{call}\u{1e}").as_bytes()).await.unwrap();
    until_answer(client).await
}

async fn send(fixture: &Fixture, to: Target, number: u32) {
    let arguments = format!("[{number}]");
    let message = SendMessage {
        hub: "chat",
        to,
        excluded: Vec::new(),
        target: "m",
        arguments: &arguments,
        trace: None,
    };
    fixture.handle.send(message).await.unwrap();
}

fn group(name: &str) -> Target {
    Target::Group(GroupName::new(name))
}

#[tokio::test]
async fn a_client_may_only_join_and_send_to_the_groups_of_its_roles() {
    let listening = Fixture::start(options()).await.listen();
    let mut ada = client(&listening, &["chappe.joinLeaveGroup.a", "webpubsub.sendToGroup"]).await;
    let mut ben = client(&listening, &["chappe.joinLeaveGroup", "chappe.sendToGroup.b"]).await;
    let error = async |client: &mut HubClient, method: &str, arguments| {
        invoke(client, method, arguments).await.answer["error"].as_str().unwrap().to_owned()
    };
    assert!(invoke(&mut ada, "chappe.joinGroup", json!(["a"])).await.answer.get("error").is_none());
    assert!(error(&mut ada, "chappe.joinGroup", json!(["b"])).await.contains("role chappe.joinLeaveGroup.b"));
    assert!(invoke(&mut ben, "chappe.joinGroup", json!(["b"])).await.answer.get("error").is_none());
    assert!(
        error(&mut ben, "chappe.sendToGroup", json!(["a", "m", 1]))
            .await
            .contains("role chappe.sendToGroup.a")
    );
    assert!(error(&mut ben, "chappe.sendToGroup", json!(["b"])).await.contains("second argument"));
    assert!(error(&mut ben, "chappe.joinGroup", json!([7])).await.contains("must be a string"));
    assert!(error(&mut ben, "chappe.joinGroup", json!([])).await.contains("first argument"));
    assert!(error(&mut ben, "chappe.fly", json!([])).await.contains("not a method of this service"));
    invoke(&mut ada, "chappe.sendToGroup", json!(["b", "m", 1, "x"])).await;
    assert_eq!(ben.arguments_of("m").await.unwrap(), json!([1, "x"]));
    let heard = invoke(&mut ben, "chappe.sendToGroup", json!(["b", "m"])).await;
    let heard =
        if heard.calls.is_empty() { short(&ben.next_json().await.unwrap()) } else { heard.calls.join(" ") };
    assert_eq!(heard, "m()", "a client that sends to its own group receives the message too");
    let mut none = client(&listening, &["admin"]).await;
    assert!(error(&mut none, "chappe.joinGroup", json!(["a"])).await.contains("has no role"));
    assert!(error(&mut none, "chappe.follow", json!(["a"])).await.contains("are not stored"));
    listening.stop().await;
}

#[tokio::test]
async fn a_client_that_reconnects_receives_missed_messages_in_order() {
    let listening = Fixture::start(storing()).await.listen();
    let roles = ["chappe.joinLeaveGroup.g"];
    let mut first = client(&listening, &roles).await;
    let followed = invoke(&mut first, "chappe.follow", json!(["g"])).await.answer;
    let start = followed["result"]["position"].as_str().unwrap().to_owned();
    assert_eq!(followed["result"], json!({ "position": start, "gap": false, "messages": 0 }));
    send(&listening.fixture, group("g"), 1).await;
    assert_eq!(short(&first.next_json().await.unwrap()), "m(1)");
    let position = first.next_json().await.unwrap();
    assert_eq!((&position["target"], &position["arguments"][0]), (&json!("chappe.position"), &json!("g")));
    let position = position["arguments"][1].as_str().unwrap().to_owned();
    drop(first);
    for number in 2..=4 {
        send(&listening.fixture, group("g"), number).await;
    }
    let mut second = client(&listening, &roles).await;
    let heard = invoke(&mut second, "chappe.follow", json!(["g", position])).await;
    assert_eq!(heard.calls, ["m(2)", "m(3)", "m(4)"]);
    assert_eq!(heard.answer["result"]["messages"], 3);
    assert_eq!(heard.answer["result"]["gap"], false);
    send(&listening.fixture, group("g"), 5).await;
    assert_eq!(second.arguments_of("m").await.unwrap(), json!([5]));
    // Five are stored, so the first one is missing for a client that reads from the start, and the response says so.
    for number in 6..=8 {
        send(&listening.fixture, group("g"), number).await;
    }
    let mut third = client(&listening, &roles).await;
    let heard = invoke(&mut third, "chappe.follow", json!(["g", start])).await;
    assert_eq!(heard.calls, ["m(4)", "m(5)", "m(6)", "m(7)", "m(8)"]);
    assert_eq!(heard.answer["result"]["gap"], true);
    let mut other = client(&listening, &[]).await;
    let refused = |heard: &Heard| heard.answer["error"].as_str().unwrap().to_owned();
    assert!(refused(&invoke(&mut other, "chappe.follow", json!(["g"])).await).contains("not a member"));
    assert!(
        refused(&invoke(&mut other, "chappe.follow", json!([null, "x"])).await)
            .contains("the position is invalid")
    );
    listening.stop().await;
}

#[tokio::test]
async fn messages_to_a_hub_are_stored_and_not_delivered_twice() {
    let listening = Fixture::start(storing()).await.listen();
    send(&listening.fixture, Target::All, 1).await;
    let mut client = client(&listening, &[]).await;
    let here = invoke(&mut client, "chappe.follow", json!([null])).await.answer["result"]["position"].clone();
    let epoch = here.as_str().unwrap().split('-').next().unwrap().to_owned();
    assert!(invoke(&mut client, "chappe.unfollow", json!([null])).await.calls.is_empty());
    send(&listening.fixture, Target::All, 2).await;
    assert_eq!(short(&client.next_json().await.unwrap()), "m(2)");
    // It has received the second one, so that only the first is missing.
    let heard = invoke(&mut client, "chappe.follow", json!([null, format!("{epoch}-0")])).await;
    assert_eq!(
        (heard.calls, heard.answer["result"]["messages"].as_u64()),
        (vec!["m(1)".to_owned()], Some(1))
    );
    send(&listening.fixture, Target::All, 3).await;
    assert_eq!(short(&client.next_json().await.unwrap()), "m(3)");
    assert_eq!(short(&client.next_json().await.unwrap()), format!("chappe.position(null,\"{epoch}-3\")"));
    listening.stop().await;
}

#[tokio::test]
async fn a_position_of_a_lost_log_returns_all_messages_with_a_gap() {
    let listening = Fixture::start(storing()).await.listen();
    send(&listening.fixture, Target::All, 1).await;
    for position in ["0-0", "0-17"] {
        let mut client = client(&listening, &[]).await;
        let heard = invoke(&mut client, "chappe.follow", json!([null, position])).await;
        assert_eq!((heard.calls, &heard.answer["result"]["gap"]), (vec!["m(1)".to_owned()], &json!(true)));
    }
    listening.stop().await;
}

async fn start_again(folder: &Path) -> Listening {
    Fixture::start_in(storing(), folder).await.listen()
}

#[tokio::test]
async fn stored_messages_are_delivered_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let listening = start_again(folder.path()).await;
    let mut before = client(&listening, &[]).await;
    let position =
        invoke(&mut before, "chappe.follow", json!([null])).await.answer["result"]["position"].clone();
    for number in 1..=2 {
        send(&listening.fixture, Target::All, number).await;
    }
    listening.stop().await;
    let listening = start_again(folder.path()).await;
    send(&listening.fixture, Target::All, 3).await;
    let mut after = client(&listening, &[]).await;
    let heard = invoke(&mut after, "chappe.follow", json!([null, position])).await;
    assert_eq!(heard.calls, ["m(1)", "m(2)", "m(3)"]);
    assert_eq!(heard.answer["result"]["gap"], false);
    listening.stop().await;
}

/// 120 messages, of which a damaged log has 97, and 60 new ones: position 120 exists again, and means another message.
#[tokio::test]
async fn a_position_after_the_end_of_a_damaged_log_reports_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let many = || Options { history: vec![rule(r#"{"hub":"chat","messages":1000}"#)], ..options() };
    let log = folder.path().join("journal/0000000000000001.log");
    let listening = Fixture::start_in(many(), folder.path()).await.listen();
    let mut before = client(&listening, &[]).await;
    let position =
        invoke(&mut before, "chappe.follow", json!([null])).await.answer["result"]["position"].clone();
    let epoch = position.as_str().unwrap().split_once('-').unwrap().0.to_owned();
    let mut log_of_97 = Vec::new();
    for number in 1..=120 {
        send(&listening.fixture, Target::All, number).await;
        if number == 97 {
            log_of_97 = std::fs::read(&log).unwrap();
        }
    }
    listening.stop().await;
    std::fs::write(&log, log_of_97).unwrap();
    let state = state_embedded::Options::default();
    let refused = state_embedded::Store::open(folder.path(), &state).map(drop).unwrap_err().to_string();
    assert!(refused.contains("--accept-loss=journal"), "{refused}");
    let accept_loss = state_embedded::AcceptLoss { journal: true, registry: false };
    let accepting = state_embedded::Options { accept_loss, ..state };
    let listening =
        Fixture::start_on(many(), &accepting, folder.path(), http_messages::Budget::default()).await.listen();
    for number in 1..=60 {
        send(&listening.fixture, Target::All, 1000 + number).await;
    }
    let mut after = client(&listening, &[]).await;
    let heard = invoke(&mut after, "chappe.follow", json!([null, format!("{epoch}-120")])).await;
    assert_eq!(heard.answer["result"]["gap"], true);
    let kept = (1..=97).chain(1001..=1060).map(|number| format!("m({number})"));
    assert_eq!(heard.calls, kept.collect::<Vec<_>>(), "stored messages are delivered once and in order");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recovered_and_new_messages_join_without_a_gap_or_duplicate() {
    let rules = vec![rule(r#"{"hub":"chat","group":"g","messages":100000}"#)];
    let listening = Fixture::start(Options { history: rules, ..options() }).await.listen();
    const COUNT: u32 = 1000;
    let handle = listening.fixture.handle.clone();
    let publisher = tokio::spawn(async move {
        for number in 0..COUNT {
            let arguments = format!("[{number}]");
            let message = SendMessage {
                hub: "chat",
                to: group("g"),
                excluded: Vec::new(),
                target: "m",
                arguments: &arguments,
                trace: None,
            };
            handle.send(message).await.unwrap();
        }
    });
    let mut next = 0;
    let mut position: Option<String> = None;
    loop {
        let mut client = client(&listening, &["chappe.joinLeaveGroup.g"]).await;
        let is_first = position.is_none();
        let from = position.clone().map_or(json!("0-0"), Value::from);
        let call =
            json!({ "type": 1, "invocationId": "1", "target": "chappe.follow", "arguments": ["g", from] });
        client.send(format!("{call}\u{1e}").as_bytes()).await.unwrap();
        // Disconnects during the recovery, at a different message each time.
        for _ in 0..300 {
            if next == COUNT {
                break;
            }
            let message = client.next_json().await.unwrap();
            match message["target"].as_str() {
                Some("m") => {
                    assert_eq!(message["arguments"][0], next);
                    next += 1;
                }
                Some("chappe.position") => position = message["arguments"][1].as_str().map(str::to_owned),
                _ => {
                    assert_eq!(message["result"]["gap"], is_first, "{message}");
                    position = message["result"]["position"].as_str().map(str::to_owned);
                }
            }
        }
        if next == COUNT {
            break;
        }
        // It follows from its last position; the message after it is delivered again.
        let told = position.as_deref().and_then(|position| position.split('-').nth(1)?.parse().ok());
        next = told.unwrap_or(0).min(next);
    }
    publisher.await.unwrap();
    listening.stop().await;
}

/// Stores messages of at most two groups, and each for a long time.
fn storing_two() -> Options {
    let rules = [r#"{"hub":"chat"}"#, r#"{"hub":"chat","group":"*","seconds":86400}"#];
    Options { history: rules.map(rule).into(), history_groups_max: 2, ..options() }
}

/// The value of a metric.
fn figure(fixture: &Fixture, name: &str) -> u64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &fixture.registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

async fn position(client: &mut HubClient, group: Value) -> Value {
    let heard = invoke(client, "chappe.follow", json!([group])).await;
    // The response arrives before the log can be replaced; the next invocation is handled after that.
    invoke(client, "chappe.none", json!([])).await;
    heard.answer["result"]["position"].clone()
}

#[tokio::test]
async fn messages_to_groups_above_the_limit_are_sent_unstored_and_no_log_with_messages_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let listening = Fixture::start_in(storing_two(), folder.path()).await.listen();
    let mut client = client(&listening, &["chappe.joinLeaveGroup"]).await;
    let first = position(&mut client, json!("a")).await;
    let second = position(&mut client, json!("b")).await;
    send(&listening.fixture, group("b"), 1).await;
    assert_eq!(short(&client.next_json().await.unwrap()), "m(1)");
    assert_eq!(client.next_json().await.unwrap()["target"], "chappe.position");
    // The log of "a" never had a message, so that another group replaces it.
    send(&listening.fixture, group("c"), 2).await;
    assert_eq!(figure(&listening.fixture, "realtime_history_groups"), 2);
    // Now both have messages.
    invoke(&mut client, "chappe.joinGroup", json!(["d"])).await;
    for number in 3..=4 {
        send(&listening.fixture, group("d"), number).await;
        assert_eq!(
            short(&client.next_json().await.unwrap()),
            format!("m({number})"),
            "sent, without position"
        );
    }
    for refused in [json!(["d"]), json!(["a", first])] {
        let heard = invoke(&mut client, "chappe.follow", refused).await;
        let error = heard.answer["error"].as_str().unwrap();
        assert!(
            error.contains("are not stored now") && error.contains("realtime.history_groups_max"),
            "{error}"
        );
    }
    assert_eq!(figure(&listening.fixture, "realtime_history_group_refusals_total"), 4);
    assert_eq!(figure(&listening.fixture, "realtime_history_groups"), 2);
    send(&listening.fixture, Target::All, 5).await;
    assert_eq!(short(&client.next_json().await.unwrap()), "m(5)");
    let hub = position(&mut client, Value::Null).await;
    assert!(hub.as_str().unwrap().ends_with("-1"), "a hub's log does not count towards the limit: {hub}");
    listening.stop().await;
    let listening = Fixture::start_in(storing_two(), folder.path()).await.listen();
    assert_eq!(figure(&listening.fixture, "realtime_history_groups"), 2);
    let mut client = self::client(&listening, &["chappe.joinLeaveGroup"]).await;
    let heard = invoke(&mut client, "chappe.follow", json!(["b", second])).await;
    assert_eq!((heard.calls, &heard.answer["result"]["gap"]), (vec!["m(1)".to_owned()], &json!(false)));
    let heard = invoke(&mut client, "chappe.follow", json!(["c", "0-0"])).await;
    assert_eq!(heard.calls, ["m(2)"]);
    let heard = invoke(&mut client, "chappe.follow", json!(["e"])).await;
    assert!(heard.answer["error"].as_str().unwrap().contains("are not stored now"));
    listening.stop().await;
}

#[tokio::test]
async fn a_client_of_a_removed_log_follows_a_new_one_with_a_gap() {
    let one = Options { history_groups_max: 1, ..storing_two() };
    let listening = Fixture::start(one).await.listen();
    let mut follower = client(&listening, &["chappe.joinLeaveGroup"]).await;
    let before = position(&mut follower, json!("a")).await;
    let mut other = client(&listening, &["chappe.joinLeaveGroup"]).await;
    position(&mut other, json!("b")).await;
    // It followed the removed log, and continues in the new one.
    send(&listening.fixture, group("a"), 1).await;
    assert_eq!(short(&follower.next_json().await.unwrap()), "m(1)");
    let told = follower.next_json().await.unwrap()["arguments"][1].clone();
    assert!(told.as_str().unwrap().ends_with("-1"), "{told}");
    let heard = invoke(&mut follower, "chappe.follow", json!(["a", told])).await;
    assert_eq!((heard.calls.len(), &heard.answer["result"]["gap"]), (0, &json!(false)));
    send(&listening.fixture, group("a"), 2).await;
    assert_eq!(short(&follower.next_json().await.unwrap()), "m(2)");
    // A position in the removed log may have missed messages.
    let mut late = client(&listening, &["chappe.joinLeaveGroup"]).await;
    let heard = invoke(&mut late, "chappe.follow", json!(["a", before])).await;
    assert_eq!(heard.calls, ["m(1)", "m(2)"]);
    assert_eq!(heard.answer["result"]["gap"], true);
    let mut stranger = client(&listening, &[]).await;
    let heard = invoke(&mut stranger, "chappe.follow", json!(["c"])).await;
    assert!(
        heard.answer["error"].as_str().unwrap().contains("not a member"),
        "a refused client creates no log"
    );
    listening.stop().await;
}

#[tokio::test]
async fn concurrent_messages_to_many_groups_stay_within_the_limit_of_logs() {
    let listening = Fixture::start(storing_two()).await.listen();
    let sending = (0..300).map(|number| {
        let fixture = &listening.fixture;
        async move { send(fixture, group(&format!("g{number}")), number).await }
    });
    futures_util::future::join_all(sending).await;
    assert_eq!(figure(&listening.fixture, "realtime_history_groups"), 2);
    assert_eq!(figure(&listening.fixture, "realtime_history_kept_total"), 2);
    assert_eq!(figure(&listening.fixture, "realtime_history_group_refusals_total"), 298);
    listening.stop().await;
}
