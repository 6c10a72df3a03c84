//! Large and unfinished bodies against the built binary: the memory that they use.

use testkit::{ChildProcess, Http, RawSocket};
use tokio::time::{Instant, sleep};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const MIB: usize = 1024 * 1024;

/// An app without packages: it registers its function with the platform's own module.
const APP: &str = r#"
'use strict';
const core = require('@azure/functions-core');
core.setProgrammingModel({
    name: 'plain',
    version: '1',
    getInvocationModel: (context) => ({
        getArguments: async () => ({ context, inputs: context.request.inputData.map(({ data }) => data) }),
        invokeFunction: async (given, inputs, callback) => callback(...inputs, given),
        getResponse: async (given, result) => ({ invocationId: given.invocationId, returnValue: result }),
    }),
});
const bindings = {
    req: { type: 'httpTrigger', direction: 'in', authLevel: 'anonymous', methods: ['post'], route: 'upload' },
    $return: { type: 'http', direction: 'out' },
};
core.registerFunction({ name: 'upload', bindings }, ({ http }) => {
    let sum = 0;
    for (const byte of http.body.bytes) sum = (sum + byte) % 1000003;
    return { http: { statusCode: '200', body: { string: `${http.body.bytes.length} ${sum}` } } };
});
"#;

async fn start(settings: &[&str]) -> (ChildProcess, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let files = [
        ("host.json", r#"{"version":"2.0"}"#),
        ("package.json", r#"{"main":"app.js"}"#),
        ("local.settings.json", r#"{"Values":{"FUNCTIONS_WORKER_RUNTIME":"node"}}"#),
        ("app.js", APP),
    ];
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file can be written");
    }
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["start", "--ephemeral"].into_iter().chain(settings).collect();
    let process = ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts");
    (process, folder)
}

async fn upload(http: &Http, bytes: usize) -> String {
    let answer = http.send("POST", "/api/upload", &[], vec![b'x'; bytes]).await.expect("it answers");
    format!("{} {}", answer.status.as_u16(), answer.text())
}

fn expected(bytes: usize) -> String {
    format!("200 {bytes} {}", bytes * usize::from(b'x') % 1_000_003)
}

/// The highest memory use of the process so far, if the system reports it.
fn assert_peak(process: &ChildProcess, bytes_max: usize) {
    if let Some(peak) = process.peak_resident_bytes() {
        assert!(peak <= bytes_max as u64, "{} MiB", peak / MIB as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_uploads_reach_a_function_with_bounded_memory() {
    let (process, _folder) = start(&[]).await;
    let http = process.http("functions");
    assert_eq!(upload(&http, 1000).await, expected(1000));
    // 160 MiB in total; an idle debug build uses about 45 MiB.
    let uploads: Vec<_> = (0..8)
        .map(|_| {
            let http = process.http("functions");
            tokio::spawn(async move { upload(&http, 20 * MIB).await })
        })
        .collect();
    for upload in uploads {
        assert_eq!(upload.await.expect("no panic"), expected(20 * MIB));
    }
    assert_peak(&process, 112 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_use_little_memory_and_time_out() {
    let (process, _folder) = start(&["edge.body_window_ms=2000", "edge.body_grace_ms=500"]).await;
    let http = process.http("functions");
    assert_eq!(upload(&http, 1000).await, expected(1000));
    let mut unfinished = Vec::new();
    for _ in 0..8 {
        let mut socket = RawSocket::connect(http.authority()).await.expect("it is accepted");
        let head =
            format!("POST /api/upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", 90 * MIB);
        socket.send(head.as_bytes()).await.expect("it is taken");
        socket.send(&vec![b'x'; 15 * MIB]).await.expect("it is taken");
        unfinished.push(socket);
    }
    // Other requests are served meanwhile.
    assert_eq!(upload(&http, 1000).await, expected(1000));
    for mut socket in unfinished {
        let answer = socket.text_to_end().await.expect("it ends");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let gateway = process.http("gateway");
    let began = Instant::now();
    loop {
        let metrics = gateway.get("/metrics").await.expect("it answers").text();
        if metrics.contains("chappe_bodies_held_bytes{pool=\"disk\"} 0\n") {
            break;
        }
        assert!(began.elapsed() < testkit::PATIENCE, "their room is not given back: {metrics}");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_peak(&process, 112 * MIB);
}
