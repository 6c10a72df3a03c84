//! ASP.NET Core integration, with the recorded messages of a .NET worker (`tests/workers/recorded`).

use std::path::Path;

use functions::FunctionState;
use http_body_util::BodyExt;
use serde_json::Value as Json;

use crate::fake::body_of;
use crate::proxy::Host;

/// The response as a client gets it: status, headers of the function, body, and whether the body was complete.
type Outcome = (u16, Vec<(String, String)>, Vec<u8>, bool);

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn text(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

fn sorted(headers: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_lowercase(), value)).collect();
    headers.retain(|(name, _)| name != "transfer-encoding");
    headers.sort();
    headers
}

/// The expected response of a recorded call.
fn expected(call: &Json) -> Outcome {
    let response = &call["response"];
    let chunks = response["chunks"].as_array().expect("chunks");
    let body: Vec<u8> = chunks.iter().flat_map(|chunk| bytes(chunk["hex"].as_str().expect("text"))).collect();
    // The recorded response of a function that throws an exception has its message.
    let answer = bytes(call["answer"]["hex"].as_str().expect("text"));
    let failed = String::from_utf8_lossy(&answer).contains("thrown ");
    if failed && body.is_empty() {
        return (500, Vec::new(), body, true);
    }
    let headers: Vec<String> = response["headers"].as_array().expect("headers").iter().map(text).collect();
    let pairs = headers.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
    let status = response["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status");
    (status, sorted(pairs), body, !failed)
}

async fn seen(host: &Host, call: &Json) -> Outcome {
    let headers: Vec<(String, String)> = call["headers"]
        .as_object()
        .expect("headers")
        .iter()
        .map(|(name, value)| (name.clone(), text(value)))
        .collect();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let path = call["path"].as_str().and_then(|path| path.strip_prefix("/api/")).expect("a path");
    let body = bytes(call["body"].as_str().unwrap_or_default());
    let response =
        host.begin(call["method"].as_str().expect("a method"), path, &headers, body_of(&body)).await;
    let (parts, mut body) = response.into_parts();
    let (mut got, mut ended_well) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => got.extend_from_slice(&frame.into_data().expect("data")),
            Err(_) => ended_well = false,
        }
    }
    let headers = parts.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    (parts.status.as_u16(), sorted(headers), got, ended_well)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recorded_call_of_an_asp_net_core_app_has_the_recorded_outcome() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workers/recorded/aspnet.jsonl");
    let recording = std::fs::read_to_string(recording).expect("the recording is there");
    // The app has a timer too, whose runs are not recorded.
    let host = Host::with_worker("recorded", &[("AzureWebJobs.Tick.Disabled", "1")]).await;
    let infos = host.handle.functions();
    let mut served = 0;
    for line in recording.lines() {
        let line: Json = serde_json::from_str(line).expect("JSON");
        let call = &line["call"];
        let Some(name) = call["function"].as_str() else { continue };
        let info = infos.iter().find(|info| info.name == name).expect("the function is known");
        // One has an output of an extension that this host does not support.
        if info.state != FunctionState::Ready {
            assert_eq!(name, "Two", "{:?}", info.state);
            continue;
        }
        let (seen, expected) = (seen(&host, call).await, expected(call));
        // The recorded failure came with the first bytes, and may be known before they are sent to the client.
        let is_early = !expected.3 && seen == (500, Vec::new(), Vec::new(), true);
        assert!(is_early || seen == expected, "{name}: {seen:?}, not {expected:?}: {:#?}", host.lines());
        served += 1;
    }
    assert_eq!(served, 18);
    let differences: Vec<String> =
        host.lines().into_iter().filter(|line| line.starts_with("DIFFERENT")).collect();
    assert_eq!(differences, Vec::<String>::new());
    host.logged("Executed 'Functions.Throw' (Failed").await;
    host.logged("Executed 'Functions.ThrowLate' (Failed").await;
    // The worker did not know the path of this call, and got a cancellation.
    host.logged("Executed 'Functions.Hello' (Failed").await;
    host.end().await;
}
