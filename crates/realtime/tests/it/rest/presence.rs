//! Presence: lists in pages, and counts.

use serde_json::{Value, json};
use signalr_protocol::HubProtocol::{Json, MessagePack};
use testkit::Http;

use super::world::{Client, World, app_token};

/// Follows `nextLink` from `line` to the end, as the SDK does: it signs the URL without its query. Returns all entries, and how
/// many each page had.
async fn pages(world: &World, line: &str) -> (Vec<Value>, Vec<usize>) {
    let (mut entries, mut sizes) = (Vec::new(), Vec::new());
    let mut answer = world.expect(200, line, Value::Null).await.json().unwrap();
    loop {
        let page = answer["value"].as_array().expect("a page has a value").clone();
        sizes.push(page.len());
        entries.extend(page);
        let Some(next) = answer["nextLink"].as_str() else { return (entries, sizes) };
        let path =
            next.strip_prefix(&format!("http://{}", world.listening.authority)).expect("an absolute link");
        let authorization = format!("Bearer {}", app_token(path));
        let http = Http::new(&world.listening.authority);
        let next = http.send("GET", path, &[("authorization", &authorization)], "").await.unwrap();
        assert_eq!(next.status, 200, "{path}: {}", next.text());
        answer = next.json().unwrap();
    }
}

async fn crowd(world: &World) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..7 {
        let user = format!("user-{}", number % 3);
        let protocol = if number % 2 == 0 { Json } else { MessagePack };
        clients.push(world.connect((number < 6).then_some(user.as_str()), protocol).await);
    }
    for client in &clients[..5] {
        world.expect(200, &format!("PUT groups/g%2F1/connections/{}", client.id), Value::Null).await;
    }
    clients
}

fn ids(clients: &[Client]) -> Vec<String> {
    let mut ids: Vec<String> = clients.iter().map(|client| client.id.clone()).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_in_pages_with_links_to_the_next() {
    let world = World::start().await;
    let clients = crowd(&world).await;
    let (listed, sizes) = pages(&world, "GET groups/g%2F1/connections?maxPageSize=2").await;
    assert_eq!(sizes, [2, 2, 1]);
    let mut found: Vec<String> =
        listed.iter().map(|entry| entry["connectionId"].as_str().unwrap().to_owned()).collect();
    found.sort();
    assert_eq!(found, ids(&clients[..5]));
    for entry in &listed {
        let client = clients.iter().position(|client| client.id == entry["connectionId"].as_str().unwrap());
        assert_eq!(entry["userId"], format!("user-{}", client.unwrap() % 3));
    }
    assert_eq!(pages(&world, "GET groups/g%2F1/connections").await.1, [5]);
    assert_eq!(pages(&world, "GET groups/g%2F1/connections?maxpagesize=2&top=3").await.1, [2, 1]);
    assert_eq!(pages(&world, "GET groups/g%2F1/connections?top=2").await.1, [2]);
    assert_eq!(pages(&world, "GET groups/g%2F1/connections?top=0").await.1, [0]);
    assert_eq!(pages(&world, "GET groups/g%2F1/connections?maxpagesize=5").await.1, [5]);
    assert_eq!(pages(&world, "GET groups/none/connections").await.1, [0]);
    // The continuation token is the last entry's id, also if that connection has closed since. The order is that of the list.
    let third = listed[2]["connectionId"].as_str().unwrap();
    world.expect(200, &format!("DELETE groups/g%2F1/connections/{third}"), Value::Null).await;
    let rest = pages(&world, &format!("GET groups/g%2F1/connections?continuationToken={third}")).await.0;
    assert_eq!(rest.len(), 2);
    drop(clients);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_users_and_groups_are_listed_and_counted() {
    let world = World::start().await;
    let clients = crowd(&world).await;
    world.expect(200, "PUT users/user-1/groups/h", Value::Null).await;
    let (all, sizes) = pages(&world, "GET connections?maxpagesize=3").await;
    assert_eq!((all.len(), sizes), (7, vec![3, 3, 1]));
    assert_eq!(all.iter().filter(|entry| entry.get("userId").is_none()).count(), 1);
    let (of_user, _) = pages(&world, "GET users/user-1/connections").await;
    assert_eq!(of_user.len(), 2);
    let (users, sizes) = pages(&world, "GET users?maxpagesize=2").await;
    let expected = json!([
        { "userId": "user-0", "connections": 2 },
        { "userId": "user-1", "connections": 2 },
        { "userId": "user-2", "connections": 2 },
    ]);
    assert_eq!((json!(users), sizes), (expected, vec![2, 1]));
    let (groups, sizes) = pages(&world, "GET groups?maxpagesize=1").await;
    let expected = json!([{ "group": "g/1", "connections": 5 }, { "group": "h", "connections": 2 }]);
    assert_eq!((json!(groups), sizes), (expected, vec![1, 1]));
    let count = world.expect(200, "GET :count", Value::Null).await.json().unwrap();
    assert_eq!(count, json!({ "connections": 7, "users": 3, "groups": 2 }));
    let elsewhere = Http::new(&world.listening.authority);
    let path = "/api/v1/hubs/other/:count";
    let authorization = format!("Bearer {}", app_token(path));
    let answer = elsewhere.send("GET", path, &[("authorization", &authorization)], "").await.unwrap();
    assert_eq!(answer.json().unwrap(), json!({ "connections": 0, "users": 0, "groups": 0 }));
    let refused = elsewhere.send("GET", path, &[], "").await.unwrap();
    assert_eq!(refused.status, 401);
    drop(clients);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_paging_parameters_are_refused() {
    let world = World::start().await;
    for (query, code, target) in [
        ("maxpagesize=0", "InvalidPage", "maxpagesize"),
        ("maxpagesize=201", "InvalidPage", "maxpagesize"),
        ("top=-1", "InvalidPage", "top"),
        ("continuationToken=x", "InvalidContinuationToken", "continuationToken"),
    ] {
        let answer = world.expect(400, &format!("GET groups/g/connections?{query}"), Value::Null).await;
        let body = answer.json().unwrap();
        assert_eq!((&body["code"], &body["target"]), (&json!(code), &json!(target)));
    }
    world.stop().await;
}
