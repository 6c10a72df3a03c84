//! The allowed dependencies between our crates: the table of `ARCHITECTURE.md`, checked against `cargo metadata`.

use cargo_metadata::{DependencyKind, Metadata, Package};

/// A crate and those of our crates that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("edge", &["http-messages"]),
    ("http-messages", &[]),
    ("websocket", &[]),
    ("egress", &["http-messages"]),
    ("trace", &[]),
    ("metric-set", &[]),
    ("supervision", &[]),
    ("identity", &[]),
    ("gateway", &["egress", "http-messages", "identity", "state", "trace"]),
    ("ocelot", &[]),
    ("signalr-protocol", &[]),
    ("worker-protocol", &[]),
    ("realtime-engine", &["edge", "signalr-protocol", "state", "supervision", "trace", "websocket"]),
    (
        "realtime",
        &[
            "http-messages",
            "edge",
            "egress",
            "identity",
            "realtime-engine",
            "signalr-protocol",
            "state",
            "supervision",
            "trace",
            "websocket",
        ],
    ),
    ("functions-contract", &["http-messages", "trace"]),
    (
        "functions",
        &[
            "http-messages",
            "egress",
            "functions-contract",
            "identity",
            "state",
            "supervision",
            "trace",
            "worker-protocol",
        ],
    ),
    ("documents", &["http-messages", "checked-files", "identity", "state", "supervision", "trace"]),
    (
        "connect-signalr",
        &["http-messages", "egress", "functions-contract", "identity", "signalr-protocol", "trace"],
    ),
    ("connect-eventgrid", &["functions-contract", "trace"]),
    ("connect-redis", &["functions-contract", "http-messages"]),
    ("connect-cosmosdb", &["http-messages", "egress", "functions-contract", "identity", "trace"]),
    ("state", &[]),
    ("state-embedded", &["checked-files", "state", "supervision"]),
    ("checked-files", &[]),
    ("testkit", &["edge", "identity", "signalr-protocol", "state", "trace", "websocket", "worker-protocol"]),
];

/// Our crates that any crate may use: they belong to no layer.
const FOR_ALL: [&str; 1] = ["metric-set"];

/// Crates of the workspace that assemble, measure or simulate, and may depend on any crate except `testkit`.
const ASSEMBLERS: [&str; 4] = ["chappe", "bench", "simulator", "xtask"];

/// Crates that no other crate may depend on, except for tests.
const ONLY_FOR_TESTS: [&str; 2] = ["testkit", "simulator"];

/// External crates that do input or output; a crate without input and output may not depend on them.
const IO_CRATES: [&str; 10] =
    ["tokio", "mio", "hyper", "hyper-util", "rusqlite", "socket2", "rustix", "tonic", "tower", "rcgen"];

/// Crates that do no input or output at all (invariant 1).
pub(super) const WITHOUT_IO: [&str; 4] = ["websocket", "identity", "signalr-protocol", "worker-protocol"];

pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    let ours: Vec<&Package> = metadata.workspace_packages();
    let names: Vec<&str> = ours.iter().map(|package| package.name.as_str()).collect();
    for package in &ours {
        let name = package.name.as_str();
        for word in ["common", "utils", "helpers", "misc", "core", "types"] {
            if name.split('-').any(|part| part == word) {
                complaints.push(format!("invariant 8: no crate is called {word}: {name}"));
            }
        }
        let allowed = ALLOWED.iter().find(|(known, _)| *known == name).map(|(_, allowed)| *allowed);
        if allowed.is_none() && !ASSEMBLERS.contains(&name) {
            complaints.push(format!("{name} has no row in xtask/src/tidy/edges.rs and in ARCHITECTURE.md"));
            continue;
        }
        for dependency in package.dependencies.iter().filter(|one| one.kind != DependencyKind::Development) {
            let other = dependency.name.as_str();
            if ONLY_FOR_TESTS.contains(&other) {
                complaints.push(format!("invariant 10: {other} is for tests only, but {name} depends on it"));
            }
            if names.contains(&other)
                && !FOR_ALL.contains(&other)
                && allowed.is_some_and(|allowed| !allowed.contains(&other))
            {
                complaints.push(format!("{name} may not depend on {other} (the table of ARCHITECTURE.md)"));
            }
            if WITHOUT_IO.contains(&name) && IO_CRATES.contains(&other) {
                complaints
                    .push(format!("invariant 1: {name} does no input or output, but depends on {other}"));
            }
            if name == "xtask" && names.contains(&other) {
                complaints.push(format!("xtask must build without the product, but depends on {other}"));
            }
        }
    }
    complaints
}
