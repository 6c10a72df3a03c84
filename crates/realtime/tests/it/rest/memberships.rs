//! Memberships of users in groups after reconnects and restarts.

use std::path::Path;
use std::time::Duration;

use realtime::MembershipError;
use realtime_engine::{GroupName, Lifetime, UserId};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol::Json;

use super::world::{Client, World};
use crate::fixture::{Fixture, options};

async fn start_in(folder: &Path) -> World {
    World { listening: Fixture::start_in(options(), folder).await.listen() }
}

/// Checks which clients are in a group: exactly its members receive a message to it.
async fn assert_memberships(world: &World, clients: &mut [&mut Client], group: &str, expected: &[bool]) {
    world.expect(202, &format!("POST groups/{group}/:send"), json!({ "target": "g" })).await;
    world.mark().await;
    for (client, expected) in clients.iter_mut().zip(expected) {
        let heard = client.until_mark().await;
        assert_eq!(heard.contains(r#""target":"g""#), *expected, "{group}: {heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_of_users_exist_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = start_in(folder.path()).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    // Names of any kind and length, also such that need encoding in a key.
    let long = format!("{}%2F%00%F0%9F%90%8C", "g".repeat(900));
    let user = format!("u%2F{}", "x".repeat(1_000));
    for line in [
        "PUT users/ada/groups/stays",
        "PUT users/ada/groups/hour?ttl=3600",
        "PUT users/ada/groups/present?ttl=0",
        "PUT users/ada/groups/left",
        "PUT users/bob/groups/left-all",
        "PUT users/bob/groups/left-all-2",
        &format!("PUT users/{user}/groups/{long}"),
        &format!("PUT users/{user}/groups/other"),
    ] {
        world.expect(200, line, Value::Null).await;
    }
    assert_memberships(&world, &mut [&mut ada], "present", &[true]).await;
    world.expect(204, "DELETE users/ada/groups/left", Value::Null).await;
    world.expect(204, "DELETE users/bob/groups", Value::Null).await;
    world.expect(204, &format!("DELETE users/{user}/groups/other"), Value::Null).await;
    drop(ada);
    world.stop().await;

    let world = start_in(folder.path()).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), Json).await;
    let mut other = world.connect(Some(&format!("u/{}", "x".repeat(1_000))), Json).await;
    for (group, expected) in [
        ("stays", [true, false, false]),
        ("hour", [true, false, false]),
        ("present", [false; 3]),
        ("left", [false; 3]),
        ("left-all", [false; 3]),
        ("left-all-2", [false; 3]),
        (long.as_str(), [false, false, true]),
        ("other", [false; 3]),
    ] {
        assert_memberships(&world, &mut [&mut ada, &mut bob, &mut other], group, &expected).await;
    }
    // A restored membership can be removed.
    world.expect(204, "DELETE users/ada/groups/stays", Value::Null).await;
    drop((ada, bob, other));
    world.stop().await;
    let world = start_in(folder.path()).await;
    world.expect(404, "GET users/ada/groups/stays", Value::Null).await;
    world.expect(200, "GET users/ada/groups/hour", Value::Null).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_expires_while_the_service_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let world = start_in(folder.path()).await;
    world.expect(200, "PUT users/ada/groups/g?ttl=1", Value::Null).await;
    world.expect(200, "PUT users/ada/groups/h?ttl=1", Value::Null).await;
    // The later request applies.
    world.expect(200, "PUT users/ada/groups/h", Value::Null).await;
    // Only time ends it, and no process runs meanwhile.
    let ended = tokio::time::Instant::now() + Duration::from_secs(2);
    world.stop().await;
    tokio::time::sleep_until(ended).await;
    let world = start_in(folder.path()).await;
    world.expect(404, "GET users/ada/groups/g", Value::Null).await;
    world.expect(200, "GET users/ada/groups/h", Value::Null).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_above_the_limit_are_refused_and_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut few = options();
    few.engine.user_groups_max = 3;
    let started = Fixture::start_in(few.clone(), folder.path()).await;
    let (handle, hub) = (&started.handle, started.handle.hub("chat").unwrap());
    let (user, join) = (UserId::new("ada"), async |name: String| {
        handle.user_joins_group(&hub, &UserId::new("ada"), &GroupName::new(&name), Lifetime::Always).await
    });
    for number in 0..3 {
        join(format!("g{number}")).await.unwrap();
    }
    assert!(matches!(join("g3".to_owned()).await, Err(MembershipError::Full)));
    // Existing memberships do not count again.
    join("g0".to_owned()).await.unwrap();
    let world = World { listening: started.listen() };
    let refused = world.expect(429, "PUT users/ada/groups/g3", Value::Null).await;
    assert_eq!(refused.headers["x-ms-error-code"], "TooManyUserGroups");
    let handle = world.listening.fixture.handle.clone();
    world.stop().await;
    let stopped = handle.user_leaves_group(&hub, &user, &GroupName::new("g0")).await;
    assert!(matches!(stopped, Err(MembershipError::Stopped(_))));
    let world = World { listening: Fixture::start_in(few, folder.path()).await.listen() };
    for (group, status) in [("g0", 200), ("g1", 200), ("g2", 200), ("g3", 404)] {
        world.expect(status, &format!("GET users/ada/groups/{group}"), Value::Null).await;
    }
    world.stop().await;
}

/// One of many memberships: one user has more than one page, another one has few.
fn nth(number: u32) -> (UserId, GroupName) {
    (UserId::new(if number < 601 { "ada" } else { "bob" }), GroupName::new(&format!("g{number}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_memberships_are_restored_before_the_first_client_connects() {
    let folder = tempfile::tempdir().unwrap();
    let started = Fixture::start_in(options(), folder.path()).await;
    let (handle, hub) = (started.handle.clone(), started.handle.hub("chat").unwrap());
    let joins = (0..603).map(|number| {
        let (handle, hub) = (handle.clone(), hub.clone());
        tokio::spawn(async move {
            let (user, group) = nth(number);
            handle.user_joins_group(&hub, &user, &group, Lifetime::Always).await
        })
    });
    for join in joins.collect::<Vec<_>>() {
        join.await.unwrap().unwrap();
    }
    started.listen().stop().await;
    let started = Fixture::start_in(options(), folder.path()).await;
    let engine = started.handle.engine();
    for number in 0..603 {
        let (user, group) = nth(number);
        assert!(engine.user_in_group(&hub, &user, &group).await.unwrap(), "{number}");
    }
    for number in [0, 602] {
        started.handle.user_leaves_all_groups(&hub, &nth(number).0).await.unwrap();
    }
    started.listen().stop().await;
    let started = Fixture::start_in(options(), folder.path()).await;
    for number in 0..603 {
        let (user, group) = nth(number);
        assert!(!started.handle.engine().user_in_group(&hub, &user, &group).await.unwrap(), "{number}");
    }
    started.listen().stop().await;
}
