//! Encrypted connections.

use std::num::NonZeroU64;

use egress::{Client, HttpVersion, Metrics, Options, OptionsError, SendError};

use crate::harness::{Server, client, get, options, text};

#[tokio::test]
async fn an_extra_root_is_trusted_and_http2_is_negotiated() {
    let server = Server::start_tls(&[b"h2", b"http/1.1"]).await;
    let root = server.root.clone().expect("a certificate");
    let uri = format!("https://localhost:{}/a", server.address.port());
    let both = Options { extra_root_files: vec![root], ..options() };
    let seen = text(&client(&both), &uri).await;
    assert!(seen.contains("HTTP/2.0"), "{seen}");
    let seen = text(&client(&Options { http_version: HttpVersion::Http1, ..both }), &uri).await;
    assert!(seen.contains("HTTP/1.1"), "{seen}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_rejected() {
    let server = Server::start_tls(&[]).await;
    let uri = format!("https://localhost:{}/", server.address.port());
    let error = client(&options()).call(get(&uri)).await.expect_err("it is not trusted");
    assert!(matches!(&error, SendError::Tls { host, .. } if host == "localhost"), "{error:?}");
    assert!(error.nothing_sent());
}

#[tokio::test]
async fn the_system_roots_do_not_trust_a_test_certificate() {
    let server = Server::start_tls(&[]).await;
    let uri = format!("https://localhost:{}/", server.address.port());
    let client = client(&Options { native_roots: true, ..options() });
    let error = client.call(get(&uri)).await.expect_err("it is not trusted");
    assert!(matches!(error, SendError::Tls { .. }), "{error:?}");
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_times_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let uri = format!("https://{}/", listener.local_addr().expect("bound"));
    let limit = NonZeroU64::new(30).expect("not zero");
    let error = client(&Options { connect_timeout_ms: limit, ..options() })
        .call(get(&uri))
        .await
        .expect_err("it hangs");
    assert_eq!(error.to_string(), "no connection to 127.0.0.1 within 30ms");
    assert!(error.nothing_sent());
}

#[test]
fn invalid_root_files_are_reported_at_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("root.pem");
    let start = || {
        let options = Options { extra_root_files: vec![path.clone()], ..options() };
        Client::new(&options, &Metrics::default()).expect_err("the file is wrong")
    };
    assert!(matches!(start(), OptionsError::RootFile { .. }));
    std::fs::write(&path, "no certificate").expect("written");
    assert!(matches!(start(), OptionsError::NoRoot { .. }));
}
