//! Options and certificates that are replaced while a listener serves.

use std::num::NonZeroUsize;
use std::path::Path;

use edge::{DevAuthority, LiveOptions, Options, TlsConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server, tls_connect};

/// Sends a request with two fields, one of them long, and returns the status of the response.
async fn status(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(9000));
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a byte"));
    }
    let text = String::from_utf8(head).expect("text");
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.expect("a length")];
    timeout(PATIENCE, stream.read_exact(&mut body)).await.expect("in time").expect("the body");
    text[9..12].to_owned()
}

#[tokio::test]
async fn new_options_apply_to_new_connections_and_open_ones_continue() {
    let mut live = LiveOptions::default();
    let server = Server::start_with(Options::default(), |listener| {
        live = listener.live_options();
        listener
    });
    let mut open = TcpStream::connect(server.address).await.expect("connected");
    assert_eq!(status(&mut open).await, "200");
    live.set(Options { head_bytes_max: 8192, ..Options::default() });
    let mut new = TcpStream::connect(server.address).await.expect("connected");
    assert_eq!(status(&mut new).await, "431");
    assert_eq!(status(&mut open).await, "200", "it keeps the options with which it was accepted");
}

#[tokio::test]
async fn a_lower_connection_limit_refuses_new_connections_only() {
    let mut live = LiveOptions::default();
    let server = Server::start_with(Options::default(), |listener| {
        live = listener.live_options();
        listener
    });
    let mut open = TcpStream::connect(server.address).await.expect("connected");
    assert_eq!(status(&mut open).await, "200");
    // The open connection is not silent for long enough to be replaced.
    let silent_after_ms = std::num::NonZeroU64::new(3_600_000).expect("not zero");
    let connections_max = NonZeroUsize::new(1).expect("not zero");
    live.set(Options { connections_max, silent_after_ms, ..Options::default() });
    let mut refused = TcpStream::connect(server.address).await.expect("connected");
    let mut byte = [0];
    let end = timeout(PATIENCE, refused.read(&mut byte)).await.expect("in time");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(status(&mut open).await, "200");
}

fn authority(folder: &Path) -> (DevAuthority, TlsConfig) {
    let authority = DevAuthority::load_or_create(folder).expect("an authority");
    let tls = authority.tls_config().expect("a certificate");
    (authority, tls)
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_clients_and_open_connections_continue() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let [(old, tls), (new, other)] = [authority(folders[0].path()), authority(folders[1].path())];
    let served = tls.clone();
    let server = Server::start_with(Options::default(), |listener| listener.with_tls(served));
    // Each client trusts one authority only: a successful connection shows which certificate is used.
    let mut open = tls_connect(server.address, old.certificate_path(), &[b"http/1.1"]).await;
    assert_eq!(status(&mut open).await, "200");
    tls.replace(&other);
    let mut connected = tls_connect(server.address, new.certificate_path(), &[b"http/1.1"]).await;
    assert_eq!((status(&mut connected).await, status(&mut open).await), ("200".to_owned(), "200".to_owned()));
}
