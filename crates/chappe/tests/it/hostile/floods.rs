//! Many connections at a time.

use std::time::Duration;

use tempfile::tempdir;
use testkit::{ChildProcess, RawSocket};
use tokio::time::timeout;

use super::{BINARY, HANDSHAKE, Witness, connections, megabytes, opened, start};

/// Half-open connections at a time. `cargo xtask soak` asks for more.
fn flood() -> usize {
    std::env::var("CHAPPE_SOAK_FLOOD").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

/// Memory that one round of a flood may leave in use, in megabytes: the allocator keeps partly used pages.
const LEFT_MB_MAX: u64 = 16;

/// Opens this number of connections.
async fn open_many(process: &ChildProcess, count: usize) -> Vec<RawSocket> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        sockets.push(opened(process).await);
    }
    sockets
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_half_open_handshakes_time_out_and_release_their_memory() {
    edge::raise_open_files().expect("more files may be open");
    let folder = tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["realtime.engine.handshake_timeout_ms=3000"]).await;
    let mut witness = Witness::connect(&process).await;
    // The first round fills pools and tables, which are allocated once.
    let mut before = None;
    for round in 0..3 {
        let sockets = open_many(&process, flood()).await;
        witness.is_served(&process).await;
        Witness::connect(&process).await.is_served(&process).await;
        for mut socket in sockets {
            let heard = socket.heard_to_close().await.expect("it hears");
            assert_eq!(heard, ["close 1008 no handshake request was received in time"]);
        }
        witness.is_served(&process).await;
        assert_eq!(connections(&process).await, 1, "only the witness is left");
        let (Some(now), true) = (megabytes(&process), round > 0) else {
            before = megabytes(&process);
            continue;
        };
        println!(
            "{} half-open handshakes: {before:?} MB after the first round, {now} MB after round {round}",
            flood()
        );
        let most = before.unwrap_or(0) + LEFT_MB_MAX;
        assert!(now <= most, "{now} MB after round {round}, {before:?} MB after the first");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_signalr_handshakes_time_out() {
    let folder = tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["realtime.engine.handshake_timeout_ms=1500"]).await;
    let mut witness = Witness::connect(&process).await;
    let mut sockets = open_many(&process, 50).await;
    // An announced frame, an unfinished record, pings: the client is active, but sends no handshake.
    let (announced, never_ending) = (b"\x81\xfe\x0f\x00\0\0\0\0{".to_vec(), b"\x81\x81\0\0\0\0{".to_vec());
    let ping = b"\x89\x80\0\0\0\0".to_vec();
    for (number, socket) in sockets.iter_mut().enumerate() {
        let said = [&announced, &never_ending, &ping][number % 3];
        socket.send(said).await.expect("it is taken");
    }
    for mut socket in sockets {
        let heard = socket.heard_to_close().await.expect("it hears");
        assert_eq!(
            heard.last().map(String::as_str),
            Some("close 1008 no handshake request was received in time")
        );
    }
    witness.is_served(&process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_send_nothing_are_closed() {
    edge::raise_open_files().expect("more files may be open");
    let folder = tempdir().expect("a folder can be made");
    let settings = ["edge.head_timeout_ms=1500", "edge.tls_handshake_timeout_ms=1500"];
    let process = start(folder.path(), &settings).await;
    let mut witness = Witness::connect(&process).await;
    let realtime = process.http("realtime");
    // Nothing, half a request, half a TLS handshake.
    let said = [
        &b""[..],
        b"POST /client/negotiate?hub=chat HTTP/1.1\r\nhost: localhost\r\nx-",
        b"\x16\x03\x01\x02\x00\x01",
    ];
    let mut sockets = Vec::new();
    for number in 0..flood() {
        let mut socket = RawSocket::connect(realtime.authority()).await.expect("it is accepted");
        socket.send(said[number % 3]).await.expect("it is taken");
        sockets.push(socket);
    }
    witness.is_served(&process).await;
    Witness::connect(&process).await.is_served(&process).await;
    for mut socket in sockets {
        let heard = socket.text_to_end().await.expect("it ends");
        assert!(heard.is_empty() || heard.starts_with('\u{15}'), "only TLS may say why: {heard:?}");
    }
    witness.is_served(&process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_free_descriptors_keeps_its_connections() {
    let folder = tempdir().expect("a folder can be made");
    // A shell sets the limit, which only the administrator can raise again.
    let start = ["start", "--no-functions", "--ephemeral", "--set", "edge.head_timeout_ms=3000"];
    let ports = ["gateway", "realtime", "documents"].map(|name| format!("listen.{name}=localhost:0"));
    let ports = ports.iter().flat_map(|port| ["--set", port]);
    let script = "ulimit -n 200; exec \"$0\" \"$@\"";
    let arguments: Vec<&str> = ["-c", script, BINARY].into_iter().chain(start).chain(ports).collect();
    let process =
        ChildProcess::start_as_configured("/bin/sh", folder.path(), &arguments).await.expect("it starts");
    let mut witness = Witness::connect(&process).await;
    let realtime = process.http("realtime");
    let mut sockets = Vec::new();
    // More connections than the process may open files.
    for _ in 0..300 {
        sockets.push(RawSocket::connect(realtime.authority()).await.expect("the kernel accepts"));
    }
    let before = process.cpu_ticks();
    // A new connection replaces a silent one, and so gets its response immediately, or as soon as one has been silent for a moment:
    // accepting never stops.
    let request = b"GET /client/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answered = async {
        loop {
            let mut newcomer = RawSocket::connect(realtime.authority()).await.expect("the kernel accepts");
            // If no connection can be replaced, the new one is closed, perhaps before it has sent anything.
            let sent = newcomer.send(request).await.is_ok();
            let answer = newcomer.text_to_end().await.expect("it ends");
            if sent && !answer.is_empty() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = timeout(Duration::from_secs(2), answered).await.expect("in time");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    if let (Some(before), Some(after)) = (before, process.cpu_ticks()) {
        assert!(after - before < 150, "{} hundredths of a second for doing nothing", after - before);
    }
    // While the silent connections are open, each port serves new connections, and the earlier client is served too.
    let mut newcomer = Witness::connect(&process).await;
    newcomer.is_served(&process).await;
    for name in ["gateway", "documents"] {
        assert!(process.http(name).get("/healthz").await.is_ok(), "{name} answers, whatever it says");
    }
    witness.is_served(&process).await;
    drop(sockets);
    let log = process.kill().await.expect("it can be killed");
    assert!(log.contains("the process may open 200 files, which is enough for"), "{log}");
    assert!(log.contains("the connections that have been silent longest are closed for new ones"), "{log}");
    assert!(!log.contains("cannot accept"), "descriptors were left over: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_pings_and_never_reads_is_closed() {
    let folder = tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["realtime.engine.pending_bytes_max=65536"]).await;
    let mut witness = Witness::connect(&process).await;
    let mut flooding = opened(&process).await;
    flooding.send(HANDSHAKE).await.expect("it is taken");
    let ping = [b"\x89\xfd\0\0\0\0".as_slice(), &[b'p'; 125]].concat();
    let thousand = ping.repeat(1_000);
    let mut taken = 0;
    // 64 MB of responses, if they were all in memory.
    while taken < 500 && flooding.send(&thousand).await.is_ok() {
        taken += 1;
        if taken % 50 == 0 {
            witness.is_served(&process).await;
        }
    }
    assert!(taken < 500, "it was cut long before");
    witness.is_served(&process).await;
    assert_eq!(connections(&process).await, 1);
    // A client that reads receives every response.
    let mut reading = opened(&process).await;
    reading.send(HANDSHAKE).await.expect("it is taken");
    assert_eq!(reading.heard().await.expect("an answer"), "text {}\u{1e}");
    for _ in 0..20 {
        reading.send(&b"\x89\x82\0\0\0\0ab".repeat(500)).await.expect("it is taken");
        for _ in 0..500 {
            assert_eq!(reading.heard().await.expect("an answer"), "pong ab");
        }
    }
    witness.is_served(&process).await;
}

/// Connections that send a head without an end.
const ENDLESS: usize = 400;

/// Most memory for each, in bytes: the stored beginning of a head, twice because its buffer grows, and its task in a debug build.
const ENDLESS_BYTES_MAX: u64 = 128 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn endless_request_heads_use_bounded_memory() {
    edge::raise_open_files().expect("more files may be open");
    let folder = tempdir().expect("a folder can be made");
    let process = start(folder.path(), &[]).await;
    let mut witness = Witness::connect(&process).await;
    witness.is_served(&process).await;
    let realtime = process.http("realtime");
    let before = process.anonymous_bytes();
    let mut sockets = Vec::new();
    for _ in 0..ENDLESS {
        sockets.push(RawSocket::connect(realtime.authority()).await.expect("it is accepted"));
    }
    // Less than is read and dropped before the response, so that all of them stay open; 160 MB in total.
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}", "a".repeat(400_000));
    for socket in &mut sockets {
        socket.send(head.as_bytes()).await.expect("it is taken");
    }
    witness.is_served(&process).await;
    match (before, process.anonymous_bytes()) {
        (Some(before), Some(after)) => {
            let each = after.saturating_sub(before) / ENDLESS as u64;
            assert!(each <= ENDLESS_BYTES_MAX, "{each} bytes for each connection");
        }
        _ => println!("memory not checked: this system does not tell"),
    }
    // Each of them gets a response when its head ends.
    for mut socket in sockets {
        socket.send(b"\r\norigin: http://page.example\r\n\r\n").await.expect("it is taken");
        let answer = socket.text_to_end().await.expect("it ends").to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 431 "), "{answer}");
        assert!(answer.contains("access-control-allow-origin: http://page.example"), "{answer}");
    }
    witness.is_served(&process).await;
}
