//! Compares the decisions of this crate with recordings of the real Ocelot.
//!
//! `tests/vectors` has the recordings that matching decides completely, reduced to requests, statuses and what the downstream received.
//! Where the complete recordings are beside the repository (`../shared/vectors/ocelot`), all of them are replayed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use ocelot::{
    ConfigurationFile, IncomingRequest, OcelotConfiguration, OcelotDecision, OcelotForward, OcelotRouter,
    Surroundings, TransformContext,
};
use serde_json::Value;

/// Lines that are deliberately different; docs/compatibility/ocelot.md has the reasons.
const DIFFERENT: &[(&str, &str)] = &[
    ("discovery", "service with path"),
    ("discovery", "second instance"),
    ("discovery", "encoded path"),
    ("discovery", "another service, second path: the first one is sent"),
    ("discovery", "POST"),
    ("startup", "QoS without a registered provider"),
    ("websocket", "no route"),
    ("websocket", "route for POST only"),
];

/// What a line shows about this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Equal,
    /// Policies, live data or the HTTP layer decide.
    DecidedElsewhere,
    Different(String),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    equal: usize,
    listed: usize,
    elsewhere: usize,
}

#[test]
fn recorded_decisions_are_repeated() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let counts = replay(&folder);
    assert_eq!(counts, Counts { equal: 296, listed: 6, elsewhere: 7 });
}

#[test]
fn every_complete_recording_beside_the_repository_is_repeated() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/ocelot");
    if !folder.is_dir() {
        eprintln!("{} is not there; only tests/vectors was replayed", folder.display());
        return;
    }
    let counts = replay(&folder);
    assert_eq!(counts, Counts { equal: 640, listed: DIFFERENT.len(), elsewhere: 139 });
}

/// Replays all files of a folder. Fails with every line that differs and is not listed.
fn replay(folder: &Path) -> Counts {
    let mut counts = Counts::default();
    let mut complaints = Vec::new();
    for file in recordings(folder) {
        let name = file.file_stem().and_then(|stem| stem.to_str()).expect("the names are ASCII").to_owned();
        let lines = with_ports(&std::fs::read_to_string(&file).expect("the recording is readable"));
        let router = (name != "startup").then(|| router(&file.with_extension("ocelot.json")));
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).expect("each line is JSON");
            let case = line["case"].as_str().unwrap_or_default();
            let outcome = match &router {
                Some(router) => compare(router, &line, name == "headers-transform"),
                None => compare_start(&line),
            };
            let listed = DIFFERENT.contains(&(name.as_str(), case));
            match outcome {
                Outcome::Different(_) if listed => counts.listed += 1,
                Outcome::Different(why) => complaints.push(format!("{name}: {case}: {why}")),
                _ if listed => complaints.push(format!("{name}: {case}: listed as different, but it is not")),
                Outcome::Equal => counts.equal += 1,
                Outcome::DecidedElsewhere => counts.elsewhere += 1,
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    counts
}

fn recordings(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    let files = entries.map(|entry| entry.expect("the entry is readable").path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "jsonl")).collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds recordings", folder.display());
    files
}

/// Recordings have words of five letters instead of ports.
fn with_ports(text: &str) -> String {
    ["DOWN1", "DOWN2", "DOWN3", "DOWN4", "DOWN5", "DOWNX", "GPORT"].into_iter().zip(10_001..).fold(
        text.to_owned(),
        |text, (word, port)| {
            text.replace(&format!("\"Port\":\"{word}\""), &format!("\"Port\":{port}"))
                .replace(word, &port.to_string())
        },
    )
}

fn router(file: &Path) -> OcelotRouter {
    let text = with_ports(&std::fs::read_to_string(file).expect("the configuration is readable"));
    let configuration = read(text).expect("the configuration can be read");
    let problems = configuration.problems(&surroundings());
    assert_eq!(problems, [], "{}", file.display());
    OcelotRouter::compile(&configuration).expect("the configuration has no problems")
}

fn read(text: String) -> Result<OcelotConfiguration, ocelot::OcelotReadError> {
    OcelotConfiguration::read(&[ConfigurationFile { name: "ocelot.json".to_owned(), text }])
}

/// The schemes of the program that was recorded.
fn surroundings() -> Surroundings {
    let schemes = ["Test", "Mapped", "Other"].map(str::to_owned).to_vec();
    Surroundings { authentication_schemes: Some(schemes) }
}

fn compare(router: &OcelotRouter, line: &Value, with_headers: bool) -> Outcome {
    let Some(request) = line.get("request") else { return Outcome::DecidedElsewhere };
    let Some((headers, hosts)) = headers(&request["headers"]) else { return Outcome::DecidedElsewhere };
    if hosts.len() != 1 && request["version"] != "HTTP/1.0" {
        return Outcome::DecidedElsewhere;
    }
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let decision = router.decide(&IncomingRequest {
        method: text("method"),
        target: text("target"),
        host: hosts.first().map_or("", String::as_str),
        headers: &headers,
    });
    let status = line["response"]["status"].as_u64().unwrap_or_default();
    let received = line["downstream"].as_array().cloned().unwrap_or_default();
    match decision {
        OcelotDecision::Reject(rejection) => {
            let same = received.is_empty() && status == u64::from(rejection.status());
            outcome(same, || format!("rejected ({rejection}), recorded {status} and {received:?}"))
        }
        OcelotDecision::Forward(forward) => match received.first() {
            None => gateway_made(status),
            Some(received) => {
                if changes_target(forward.route) {
                    return Outcome::DecidedElsewhere;
                }
                compare_forward(&forward, received, with_headers.then_some(&headers))
            }
        },
        OcelotDecision::Aggregate { aggregate, forwards } => {
            if received.is_empty() || aggregate.properties.contains_key("RouteKeysConfig") {
                return Outcome::DecidedElsewhere;
            }
            let sent: BTreeSet<&str> = forwards.iter().map(|forward| forward.target.as_str()).collect();
            let recorded: BTreeSet<&str> =
                received.iter().filter_map(|received| received["target"].as_str()).collect();
            // Policies of a part keep its request from going out.
            if recorded.len() < sent.len() && recorded.is_subset(&sent) {
                return Outcome::DecidedElsewhere;
            }
            outcome(sent == recorded, || format!("sends {sent:?}, recorded {recorded:?}"))
        }
        OcelotDecision::Dynamic(forward) => match received.first() {
            None => Outcome::DecidedElsewhere,
            Some(received) => outcome(received["target"] == forward.target.as_str(), || {
                format!("sends {}, recorded {}", forward.target, received["target"])
            }),
        },
    }
}

fn outcome(same: bool, why: impl FnOnce() -> String) -> Outcome {
    if same { Outcome::Equal } else { Outcome::Different(why()) }
}

/// A response that the gateway made although a route matched: a policy, a failure or a cache.
fn gateway_made(status: u64) -> Outcome {
    match status {
        404 => Outcome::Different("a route matches, recorded 404".to_owned()),
        _ => Outcome::DecidedElsewhere,
    }
}

/// Claims change the target of such a route.
fn changes_target(route: &ocelot::ConfiguredRoute) -> bool {
    ["AddQueriesToRequest", "ChangeDownstreamPathTemplate"]
        .into_iter()
        .any(|name| route.properties.contains_key(name))
}

fn compare_forward(forward: &OcelotForward<'_>, received: &Value, headers: Option<&HeaderMap>) -> Outcome {
    if received["target"] != forward.target.as_str() || received["method"] != *forward.method {
        return Outcome::Different(format!(
            "sends {} {}, recorded {} {}",
            forward.method, forward.target, received["method"], received["target"]
        ));
    }
    let port = received["port"].as_str().and_then(|port| port.parse().ok());
    let hosts = &forward.route.downstream_hosts;
    if forward.route.service_name.is_none() && !hosts.iter().any(|host| Some(host.port) == port) {
        return Outcome::Different(format!("leads to {hosts:?}, recorded {port:?}"));
    }
    let Some(headers) = headers else { return Outcome::Equal };
    let mut headers = headers.clone();
    let context = TransformContext {
        remote_address: "127.0.0.1",
        downstream_base_url: &format!("http://127.0.0.1:{}/", port.unwrap_or_default()),
    };
    forward.transforms.apply_to_request(&mut headers, &context);
    let sent = comparable(&headers);
    let recorded = headers_of(&received["headers"]).map(|headers| comparable(&headers)).unwrap_or_default();
    outcome(sent == recorded, || format!("sends {sent:?}, recorded {recorded:?}"))
}

/// Headers as a set, without those that belong to the connection to the instance.
fn comparable(headers: &HeaderMap) -> BTreeSet<(String, String)> {
    let own = ["host", "traceparent", "content-length"];
    headers
        .keys()
        .filter(|name| !own.contains(&name.as_str()))
        .map(|name| {
            let values: Vec<_> =
                headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            (name.as_str().to_owned(), values.join(", "))
        })
        .collect()
}

fn headers_of(headers: &Value) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for header in headers.as_array()? {
        let (name, value) = (header[0].as_str()?, header[1].as_str()?);
        map.append(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
    }
    Some(map)
}

/// The headers of a request and the values of `Host`; `None` if a header cannot be sent as it is.
fn headers(headers: &Value) -> Option<(HeaderMap, Vec<String>)> {
    let ascii = headers.as_array()?.iter().all(|header| header[1].as_str().is_some_and(str::is_ascii));
    let map = headers_of(headers).filter(|_| ascii)?;
    let hosts = map.get_all("host").iter().map(|value| value.to_str().unwrap_or_default().to_owned());
    let hosts = hosts.collect();
    Some((map, hosts))
}

fn compare_start(line: &Value) -> Outcome {
    let configuration = read(line["configuration"].to_string()).expect("the configuration is an object");
    let problems = configuration.problems(&surroundings());
    let starts = line["starts"] == true;
    if starts != problems.is_empty() {
        return Outcome::Different(format!("recorded starts: {starts}, problems: {problems:?}"));
    }
    if !starts {
        return Outcome::Equal;
    }
    let router = OcelotRouter::compile(&configuration).expect("it has no problems");
    let headers = HeaderMap::new();
    let request = IncomingRequest { method: "GET", target: "/a", host: "localhost", headers: &headers };
    let decision = router.decide(&request);
    match (line["get_a_status"].as_u64(), decision) {
        (Some(404), OcelotDecision::Reject(rejection)) => {
            outcome(rejection.status() == 404, || rejection.to_string())
        }
        (Some(404), OcelotDecision::Forward(forward)) => {
            outcome(forward.route.service_name.is_some(), || "a route matches".to_owned())
        }
        (_, OcelotDecision::Forward(_) | OcelotDecision::Aggregate { .. }) => Outcome::Equal,
        (status, decision) => Outcome::Different(format!("recorded {status:?}, decided {decision:?}")),
    }
}
