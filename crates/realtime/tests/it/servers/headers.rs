//! Headers of a client's connect request, which hubs read as `HttpContext.Request.Headers`.

use realtime::{Options, servers};
use signalr_protocol::HubProtocol;
use signalr_protocol::service::Message;
use testkit::{Http, HubClient, ScriptedAppServer};

use super::{client_path, default_mode, listen, negotiate, server};
use crate::fixture::{Listening, body, client_token, request};

const SENT: [(&str, &str); 8] = [
    ("user-agent", "test/1"),
    ("x-tenant", "a, b"),
    ("cookie", "c=1"),
    ("x-forwarded-for", "192.0.2.7"),
    ("x-ms-client-principal-id", "root"),
    ("x_arr_clientcert", "root"),
    ("asrs-migrate-from", "other"),
    ("te", "trailers"),
];

/// The headers of the next client, without `host`, sorted.
async fn opened(server: &mut ScriptedAppServer) -> Vec<String> {
    let headers = server.until(|message| match message {
        Message::OpenConnection(open) => {
            let shown = open.headers.iter().filter(|(name, _)| *name != "host");
            Some(shown.map(|(name, values)| format!("{name}: {values:?}")).collect::<Vec<_>>())
        }
        _ => None,
    });
    let mut headers = headers.await.unwrap();
    headers.sort();
    headers
}

/// Negotiates, and connects by a poll.
async fn poll(listening: &Listening) {
    let (_, answer) = negotiate(listening, &[]).await;
    let path = format!("/client/?hub=chat&id={}", answer["connectionToken"].as_str().unwrap());
    let authorization = format!("Bearer {}", client_token("chat", &[]));
    let own = [("authorization", authorization.as_str())];
    let http = Http::new(&listening.authority);
    let handshake = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
    http.send("POST", &path, &own, handshake).await.unwrap();
    http.send("GET", &path, &[&own[..], &SENT].concat(), "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_connect_request_are_forwarded_except_withheld_ones() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let expected = |more: &[&str]| {
        let mut all: Vec<String> = [
            "Asrs-Instance-Id: [\"default-0\"]",
            "cookie: [\"c=1\"]",
            "user-agent: [\"test/1\"]",
            "x-forwarded-for: [\"192.0.2.7\"]",
        ]
        .iter()
        .chain(more)
        .map(|line| (*line).to_owned())
        .collect();
        all.sort();
        all
    };
    let headers = [&SENT[..], &[("x-tenant", "c")]].concat();
    let path = client_path(&[]);
    let upgraded = HubClient::upgrade_with(&listening.authority, &path, HubProtocol::Json, &headers);
    let mut ada = upgraded.await.unwrap();
    ada.send(b"{\"protocol\":\"json\",\"version\":1}\x1e").await.unwrap();
    assert_eq!(opened(&mut server).await, expected(&["x-tenant: [\"a, b\", \"c\"]"]));
    let (opened, ()) = tokio::join!(opened(&mut server), poll(&listening));
    assert_eq!(opened, expected(&["x-tenant: [\"a, b\"]"]));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_headers_above_the_limit_is_refused() {
    let servers = servers::Options { client_header_bytes_max: 200, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let _server = server(&listening, "one").await;
    let long = "x".repeat(200);
    let authorization = format!("Bearer {}", client_token("chat", &[]));
    let http = Http::new(&listening.authority);
    let path = "/client/negotiate?hub=chat&negotiateVersion=1";
    let headers = [("authorization", authorization.as_str()), ("x-long", &long)];
    let answer = http.send("POST", path, &headers, "").await.unwrap();
    assert_eq!(answer.status.as_u16(), 431);
    let why =
        "the request has more than 200 bytes of headers for the app server (servers.client_header_bytes_max)";
    assert!(answer.text().contains(why), "{}", answer.text());
    let (path, headers) = (client_path(&[]), [("x-long", long.as_str())]);
    let upgraded = HubClient::upgrade_with(&listening.authority, &path, HubProtocol::Json, &headers);
    let refused = upgraded.await.err().unwrap().to_string();
    assert!(refused.contains("431"), "{refused}");
    assert_eq!(negotiate(&listening, &[]).await.0, 200);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_request_without_host_is_forwarded_with_the_host_of_its_url() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (_, answer) = negotiate(&listening, &[]).await;
    let path = format!("/client/?hub=chat&id={}", answer["connectionToken"].as_str().unwrap());
    let send = async |method: &str, payload: &'static str| {
        let authorization = format!("Bearer {}", client_token("chat", &[]));
        let request = request(&format!("{method} {path}")).header("authorization", authorization);
        let answer = listening.fixture.send(request.body(body(payload)).unwrap()).await;
        assert_eq!(answer.status().as_u16(), 200);
    };
    send("POST", "{\"protocol\":\"json\",\"version\":1}\u{1e}").await;
    send("GET", "").await;
    let host = server.until(|message| match message {
        Message::OpenConnection(open) => {
            let host = open.headers.iter().find(|(name, _)| *name == "host");
            Some(host.map(|(_, values)| values.concat()))
        }
        _ => None,
    });
    assert_eq!(host.await.unwrap().as_deref(), Some("localhost:8888"));
    listening.stop().await;
}
