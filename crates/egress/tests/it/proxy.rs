//! Requests through a proxy.

use std::sync::{Arc, Mutex};

use egress::{AddressPolicy, Base, Options, ProxyChoice, ProxyUrls, SendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Server, client, get, options, text};

/// A proxy that connects every tunnel to one server, and records the requested targets.
struct Tunneller {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn tunneller(server: &Server, response: &'static str) -> Tunneller {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://us%40er:pass@{}", listener.local_addr().expect("bound"));
    let heads = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heads);
    let target = server.address;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            noted.lock().expect("not poisoned").push(String::from_utf8(head).expect("text"));
            stream.write_all(response.as_bytes()).await.expect("the client is there");
            if response.starts_with("HTTP/1.1 200") {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(target).await.expect("the server is there");
                    // One of the two sides closed the connection.
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
                });
            }
        }
    });
    Tunneller { url, heads }
}

fn through(http: Option<&str>, https: Option<&str>) -> Options {
    let urls = ProxyUrls {
        http: http.map(str::to_owned),
        https: https.map(str::to_owned),
        no_proxy: vec!["direct.test".to_owned()],
    };
    Options { proxy: ProxyChoice::Urls(urls), ..options() }
}

#[tokio::test]
async fn https_uses_a_tunnel_and_verifies_the_certificate_of_the_server() {
    let server = Server::start_tls(&[]).await;
    let proxy = tunneller(&server, "HTTP/1.1 200 Connection established\r\n\r\n").await;
    let root = server.root.clone().expect("a certificate");
    let client = client(&Options { extra_root_files: vec![root], ..through(None, Some(&proxy.url)) });
    // Only the proxy resolves these names; the certificate is for the first.
    let seen = text(&client, "https://far.test/x").await;
    assert!(seen.starts_with("GET /x ") && seen.ends_with("login=None"), "{seen}");
    let error = client.call(get("https://other.test:444/")).await.expect_err("the certificate is another's");
    assert!(matches!(&error, SendError::Tls { host, .. } if host == "other.test"), "{error:?}");
    let login = "Proxy-Authorization: Basic dXNAZXI6cGFzcw==";
    let asked = |target: &str| format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n\r\n");
    assert_eq!(*proxy.heads.lock().expect("not poisoned"), [asked("far.test:443"), asked("other.test:444")]);
}

#[tokio::test]
async fn http_is_forwarded_in_absolute_form() {
    // A forwarding proxy receives the request itself; this server returns what it received.
    let server = Server::start().await;
    let client = client(&through(Some(&format!("http://a:b@{}", server.address)), None));
    let seen = text(&client, "http://far.test/x").await;
    assert_eq!(seen, "GET http://far.test/x HTTP/1.1 host=Some(\"far.test\") login=Some(\"Basic YTpi\")");
    // This host and listed hosts are reached directly.
    let seen = text(&client, &format!("http://{}/x", server.address)).await;
    assert!(seen.starts_with("GET /x ") && seen.ends_with("login=None"), "{seen}");
}

#[tokio::test]
async fn the_policy_applies_to_requests_through_a_proxy() {
    let server = Server::start().await;
    let proxy = tunneller(&server, "HTTP/1.1 200 OK\r\n\r\n").await;
    let allow = vec!["192.0.2.0/24".parse().expect("a network")];
    let addresses = AddressPolicy { base: Base::DenyAll, allow, deny: Vec::new() };
    let client = client(&Options { addresses, ..through(Some(&proxy.url), None) });
    let error = client.call(get("http://10.0.0.1/")).await.expect_err("it is refused");
    assert!(matches!(error, SendError::Refused { .. }), "{error:?}");
    // Plain requests use a tunnel as well, to the address that was checked.
    let seen = text(&client, "http://192.0.2.1/x").await;
    assert!(seen.starts_with("GET /x "), "{seen}");
    let heads = proxy.heads.lock().expect("not poisoned");
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with("CONNECT 192.0.2.1:80 HTTP/1.1\r\n"), "{}", heads[0]);
}

#[tokio::test]
async fn a_rejected_tunnel_is_reported_with_the_status_of_the_proxy() {
    let server = Server::start().await;
    let proxy = tunneller(&server, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let client = client(&through(None, Some(&proxy.url)));
    let error = client.call(get("https://far.test/")).await.expect_err("the proxy refuses");
    assert!(error.nothing_sent());
    let text = http_messages::error_chain(&error);
    assert!(
        text.contains("refused a tunnel to far.test:443: tunnel error: proxy authorization required"),
        "{text}"
    );
    assert!(!text.contains("pass"), "no password is shown: {text}");
}
