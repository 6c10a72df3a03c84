use expect_test::{Expect, expect};
use state::Instance;

use super::*;

fn hub(name: &str) -> Hub {
    Hub::new(Instance::new("default").unwrap(), name)
}

fn client(number: u8) -> ConnectionId {
    let mut text = "AAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned();
    text.replace_range(20..21, &char::from(b'A' + number).to_string());
    ConnectionId::parse(&text).unwrap()
}

/// Runs a script and shows the result of each line. Lines: `add connection server [weak|stateful]`, `gone connection`, `leave
/// connection`, `client n [server [required]]`, `move n not-server`, `release n connection`, `handler [server [required]]`,
/// `servers`, `stateful`.
fn check(mode: Mode, script: &str, expected: &Expect) {
    let (mut registry, hub) = (ConnectionTable::new(mode), hub("chat"));
    let mut ids: HashMap<String, ServerConnectionId> = HashMap::new();
    let mut shown = String::new();
    for line in script.split('/').map(str::trim) {
        let words: Vec<&str> = line.split(' ').collect();
        let sticky = |at: usize| {
            words.get(at).map(|server| StickyServer {
                server: (*server).into(),
                required: words.get(at + 1) == Some(&"required"),
            })
        };
        let number = || client(words[1].parse().unwrap());
        let given = |found: Option<(ServerConnectionId, String)>| {
            found.map_or("nobody".to_owned(), |(_, connection)| connection)
        };
        let numbers = |clients: Vec<ConnectionId>| {
            let number = |one| (0..26).find(|number| client(*number) == one).unwrap().to_string();
            clients.into_iter().map(number).collect::<Vec<_>>().join(",")
        };
        let result = match words[0] {
            "add" => {
                let purpose = match words.get(3) {
                    Some(&"weak") => ConnectionPurpose::Sending,
                    more => ConnectionPurpose::Clients { stateful: more == Some(&"stateful") },
                };
                let name = words[1].to_owned();
                registry.add(&hub, words[2].into(), purpose, |id| {
                    ids.insert(name.clone(), id);
                    name
                });
                continue;
            }
            "gone" => numbers(registry.remove(&hub, ids[words[1]])),
            "leave" => numbers(registry.drain(&hub, ids[words[1]])),
            "client" => given(registry.assign(&hub, number(), sticky(2).as_ref(), None, |_| true)),
            "move" => given(registry.assign(&hub, number(), None, Some(words[2]), |_| true)),
            "release" => {
                registry.release(&hub, number(), ids[words[2]]);
                continue;
            }
            "handler" => format!("{:?}", registry.client_handler(&hub, sticky(1).as_ref())),
            "stateful" => registry.all_stateful(&hub).to_string(),
            "servers" => registry.servers(&hub).join(";"),
            other => panic!("unknown word {other}"),
        };
        shown += &format!("{line}: {result}\n");
    }
    expected.assert_eq(&shown);
}

#[test]
fn clients_are_assigned_to_the_connection_with_the_fewest() {
    check(
        Mode::Default,
        "add a1 A / add a2 A / add b1 B / client 1 / client 2 / client 3 / client 4 / release 2 a2 / client 5 / servers",
        &expect![[r#"
            client 1: a1
            client 2: a2
            client 3: b1
            client 4: a1
            client 5: a2
            servers: A;B
        "#]],
    );
}

#[test]
fn a_sticky_client_is_assigned_to_its_server_if_that_is_connected() {
    check(
        Mode::Default,
        "add a1 A / add b1 B / add b2 B / client 1 B / client 2 B required / client 3 B / client 4 C / client 5 C required / client 6 b1",
        &expect![[r#"
            client 1 B: b1
            client 2 B required: b2
            client 3 B: b1
            client 4 C: a1
            client 5 C required: nobody
            client 6 b1: a1
        "#]],
    );
}

#[test]
fn a_draining_connection_gets_no_new_clients_and_returns_those_that_it_had() {
    check(
        Mode::Default,
        "add a1 A / add b1 B / client 1 / client 2 / client 3 / leave a1 / client 4 / move 1 A / release 1 a1 / gone a1 / gone a1 / gone b1 / client 5",
        &expect![[r#"
            client 1: a1
            client 2: b1
            client 3: a1
            leave a1: 1,3
            client 4: b1
            move 1 A: b1
            gone a1: 3
            gone a1: 
            gone b1: 1,2,4
            client 5: nobody
        "#]],
    );
}

#[test]
fn the_mode_decides_who_handles_clients() {
    let script = "handler / add w W weak / handler / add a A / handler / handler X required / leave a / handler / gone a / handler";
    check(
        Mode::Default,
        script,
        &expect![[r#"
            handler: Unavailable
            handler: Unavailable
            handler: AppServer
            handler X required: Unavailable
            leave a: 
            handler: Unavailable
            gone a: 
            handler: Unavailable
        "#]],
    );
    check(
        Mode::Classic,
        script,
        &expect![[r#"
            handler: Upstream
            handler: Upstream
            handler: AppServer
            handler X required: Unavailable
            leave a: 
            handler: Unavailable
            gone a: 
            handler: Upstream
        "#]],
    );
    check(
        Mode::Serverless,
        script,
        &expect![[r#"
            handler: Upstream
            handler: Upstream
            handler: Upstream
            handler X required: Upstream
            leave a: 
            handler: Upstream
            gone a: 
            handler: Upstream
        "#]],
    );
}

#[test]
fn a_hub_is_stateful_if_every_app_server_supports_it() {
    check(
        Mode::Default,
        "stateful / add w W weak / add a A stateful / stateful / add b B / stateful",
        &expect![[r#"
            stateful: true
            stateful: true
            stateful: false
        "#]],
    );
}

#[test]
fn server_connections_of_one_hub_do_not_serve_another() {
    let mut registry = ConnectionTable::new(Mode::Default);
    let mut ids = Vec::new();
    registry.add(&hub("chat"), "A".into(), ConnectionPurpose::Clients { stateful: false }, |id| {
        ids.push(id);
        "a"
    });
    let id = ids[0];
    assert_eq!(registry.assign(&hub("other"), client(1), None, None, |_| true), None);
    assert_eq!(registry.remove(&hub("other"), id), vec![]);
    assert_eq!(registry.len(), 1);
    assert_eq!(registry.connection_of_server(&hub("chat"), "A"), Some("a"));
    assert_eq!(registry.connection_of_server(&hub("other"), "A"), None);
}

#[test]
fn a_connection_that_accepts_no_clients_is_not_assigned_any() {
    let (mut registry, hub) = (ConnectionTable::new(Mode::Default), hub("chat"));
    for name in ["a", "b"] {
        registry.add(&hub, name.into(), ConnectionPurpose::Clients { stateful: false }, |_| name);
    }
    let given = registry.assign(&hub, client(1), None, None, |connection| *connection != "a");
    assert_eq!(given.map(|(_, connection)| connection), Some("b"));
    assert_eq!(registry.assign(&hub, client(2), None, None, |_| false), None);
    assert_eq!(
        registry.assign(&hub, client(2), None, None, |_| true),
        None,
        "it accepts no clients after that"
    );
}
