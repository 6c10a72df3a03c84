//! The requests that the SignalR emulator sent to its upstream, compared with ours for the same clients. Each line of
//! `recorded.jsonl` is one scenario: the requests of one connection, in order. It was recorded from the public emulator (March
//! 2024) with a template like the one below; what changes between runs was removed. `docs/compatibility/upstreams.md` lists the
//! differences, and so do [`CLAIMS`] and [`OTHERS`].

mod clients;

use std::collections::BTreeMap;

use realtime::Mode;
use realtime::upstream::TemplateOptions;
use serde::Deserialize;
use serde_json::Value;

use self::clients::{Input, play};
use super::signature;
use crate::fixture::{Fixture, KEY, options};
use crate::webhook::{Received, Webhook};

#[derive(Deserialize)]
struct Scenario {
    scenario: String,
    requests: Vec<Recorded>,
}

/// The compared parts of one request.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Recorded {
    target: String,
    event: String,
    #[serde(rename = "type")]
    content_type: String,
    #[serde(default)]
    user: Option<String>,
    /// Only if the scenario is about claims; `iat`, `nbf` and `exp` have the value `N`.
    #[serde(default)]
    claims: Option<String>,
    query: String,
    /// The body: text, or hexadecimal digits for MessagePack.
    body: String,
}

/// A request of this service.
pub(super) struct Sent {
    connection: String,
    signature: String,
    /// The names of its headers of the protocol, sorted.
    names: Vec<String>,
    /// In the format of the recording.
    request: Recorded,
}

impl Sent {
    fn of(received: &Received) -> Self {
        let header = |name| Some(received.header(name)).filter(|_| received.headers.contains_key(name));
        let content_type = received.header("content-type");
        let body = received.body.as_ref();
        let body = match content_type.as_str() {
            "application/json" => String::from_utf8(body.to_vec()).unwrap(),
            _ => body.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let mut names: Vec<_> = received.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.retain(|name| {
            name.starts_with("x-asrs-") || name.starts_with("x-chappe-") || name == "traceparent"
        });
        names.sort();
        let request = Recorded {
            target: received.path.clone(),
            event: received.header("x-asrs-event"),
            content_type,
            user: header("x-asrs-user-id"),
            claims: header("x-asrs-user-claims").map(|claims| without_times(&claims)),
            query: received.header("x-asrs-client-query"),
            body,
        };
        let (connection, signature) =
            (received.header("x-asrs-connection-id"), received.header("x-asrs-signature"));
        Self { connection, signature, names, request }
    }
}

impl Sent {
    /// Whether it is an invocation with an id.
    fn has_call(&self) -> bool {
        let body = &self.request.body;
        // [1, headers, id or nil, ...]
        body.contains("\"invocationId\"") || (body.starts_with('9') && !body.starts_with("960180c0"))
    }
}

const INVOCATION_ID: &str = "x-chappe-invocation-id";

/// Headers that the emulator does not have.
const OURS: [&str; 5] = [
    "x-asrs-user-claims-encoded",
    "x-chappe-client-address",
    "x-chappe-hub-protocol",
    INVOCATION_ID,
    "x-chappe-transport",
];

/// Replaces values that change between runs.
fn without_times(claims: &str) -> String {
    let item = |item: &str| match item.split_once(": ") {
        Some((kind @ ("iat" | "nbf" | "exp"), _)) => format!("{kind}: N"),
        _ => item.to_owned(),
    };
    claims.split(", ").map(item).collect::<Vec<_>>().join(", ")
}

/// The start of every claims header in the recordings.
const TIMES: &str = "aud: http://localhost:36000/client/?hub=chat, iat: N, nbf: N, exp: N, ";

/// Scenarios in which we deliberately send other claims, and what follows [`TIMES`]. Commas, control characters and spaces at the
/// ends are percent-encoded, and so is what looks like the end of a type. Numbers stay as in the token.
const CLAIMS: [(&str, &str); 5] = [
    (
        "claims/percent",
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier: a%252Fb, x: 100%",
    ),
    (
        "claims/comma",
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier: a, name: Last%2C First, x: a: b%2C role: admin",
    ),
    (
        "claims/space",
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier: %20a b%20, x: %20lead, y: trail%20, z: , tab: a%09b",
    ),
    (
        "claims/colon-type",
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier: a, a:%20b: c, x%2Cy: z, : emptytype",
    ),
    (
        "claims/types",
        r#"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier: a, i: 5, f: 1.5, big: 12345678901234567890, neg: -1"#,
    ),
];

/// Other deliberate differences: scenario, the emulator's value, and ours.
const OTHERS: [(&str, &str, &str); 5] = [
    // Spaces at the ends of a header are trimmed, so that two users would have one header: they are percent-encoded.
    ("claims/space", "a b", "%20a b%20"),
    // A text that looks encoded is encoded, so that it can be decoded.
    ("claims/percent", "a%2Fb", "a%252Fb"),
    // The service's own order of claims determines the user, not the order in the token.
    ("claims/sub-nameid", "s1", "n1"),
    // The case of hub names is ignored, and they are always in lower case.
    ("hub/capitals", "/t/NewHub/", "/t/newhub/"),
    // If an app closes a connection with a reason, `disconnected` has it.
    ("end/rest-reason", r#"{"type":11}"#, r#"{"error":"...","type":11}"#),
];

/// Scenarios in which the name of an event is percent-encoded, so that it can be decoded, and the header's value.
const EVENTS: [(&str, &str); 2] = [("target/pct", "a%252Fb"), ("target/lead", "%20a%20")];

#[tokio::test(flavor = "multi_thread")]
async fn requests_equal_those_of_the_emulator_except_for_the_listed_differences() {
    let mut webhook = Webhook::start();
    let mut options = options();
    let url_template =
        format!("http://{}/t/{{hub}}/{{category}}/{{event}}?code=a%20b&x=1", webhook.authority);
    // The emulator has no app servers: do not wait for one because of an `asrs.op`.
    options.mode = Mode::Serverless;
    options.upstream.templates = vec![TemplateOptions { url_template, ..TemplateOptions::default() }];
    let listening = Fixture::start(options).await.listen();
    let mut played = 0;
    for line in include_str!("recorded.jsonl").lines() {
        let Scenario { scenario, requests } = serde_json::from_str(line).unwrap();
        let Some(input) = Input::of(&scenario, &requests) else { continue };
        played += 1;
        let sent = play(&listening, &mut webhook, &input).await;
        assert_eq!(sent.len(), requests.len(), "{scenario}");
        for (sent, recorded) in sent.into_iter().zip(requests) {
            compare(&scenario, sent, recorded);
        }
    }
    assert_eq!(played, 88);
    listening.stop().await;
}

fn compare(scenario: &str, sent: Sent, recorded: Recorded) {
    // The emulator writes the signature in upper case.
    assert_eq!(sent.signature, signature(KEY, &sent.connection), "{scenario}");
    let mut names = vec![
        "traceparent",
        "x-asrs-category",
        "x-asrs-client-query",
        "x-asrs-connection-id",
        "x-asrs-event",
        "x-asrs-hub",
        "x-asrs-signature",
        "x-asrs-user-claims",
    ];
    names.extend(OURS.into_iter().filter(|name| *name != INVOCATION_ID || sent.has_call()));
    names.extend(recorded.user.is_some().then_some("x-asrs-user-id"));
    names.sort_unstable();
    assert_eq!(sent.names, names, "{scenario}");
    let sent = sent.request;
    let claims = CLAIMS.iter().find(|(other, _)| *other == scenario);
    let claims = claims.map(|(_, claims)| format!("{TIMES}{claims}")).or_else(|| recorded.claims.clone());
    if let Some(claims) = claims {
        // After the claims that the emulator sends, ours have the names in the token.
        let ours = sent.claims.as_deref().unwrap_or_default();
        let rest = ours.strip_prefix(&claims);
        let rest = rest.unwrap_or_else(|| panic!("{scenario}: {ours} does not begin with {claims}"));
        assert!(rest.is_empty() || rest.starts_with(", "), "{scenario}: {rest}");
    }
    let other = OTHERS.iter().find(|(other, ..)| *other == scenario);
    let ours = |text: String| other.map_or(text.clone(), |(_, theirs, ours)| text.replace(theirs, ours));
    assert_eq!(sent.target, ours(recorded.target), "{scenario}");
    let encoded = EVENTS.iter().find(|(other, _)| *other == scenario && sent.event.contains('%'));
    let event = encoded.map_or(recorded.event, |(_, encoded)| (*encoded).to_owned());
    assert_eq!(sent.event, event, "{scenario}");
    assert_eq!(sent.content_type, recorded.content_type, "{scenario}");
    assert_eq!(sent.user, recorded.user.map(ours), "{scenario}");
    assert_eq!(pairs(&sent.query), pairs(&recorded.query), "{scenario}");
    // The emulator serializes messages again: what cannot be parsed here (1e400) has the same bytes.
    if sent.body != recorded.body {
        assert_eq!(parsed(&sent.body), ours(parsed(&recorded.body)), "{scenario}");
    }
}

/// A decoded query, without the token and the id, which we do not pass on.
fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned()
    };
    let pairs = query.trim_start_matches('?').split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    });
    pairs.filter(|(name, _)| !["access_token", "id"].contains(&name.as_str())).collect()
}

/// A JSON object with its names in lower case and sorted. The text of its error differs.
fn parsed(body: &str) -> String {
    let Value::Object(object) = serde_json::from_str(body).unwrap() else { panic!("{body} is no object") };
    let object: BTreeMap<String, Value> = object
        .into_iter()
        .map(|(name, value)| match name.to_lowercase().as_str() {
            "error" => ("error".to_owned(), Value::from("...")),
            name => (name.to_owned(), value),
        })
        .collect();
    serde_json::to_string(&object).unwrap()
}
