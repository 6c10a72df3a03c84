//! The methods that this process handles, invoked by clients without a role or with invalid arguments: each invocation completes
//! with an error, and the client stays connected.

use signalr_protocol::HubProtocol;
use testkit::RawSocket;

use super::{connected, frame, options, still_serves};
use crate::fixture::{Fixture, Listening, client_token};

/// Invokes a method; returns what the client receives.
async fn call(socket: &mut RawSocket, method: &str, arguments: &str) -> String {
    let message = format!(
        "{{\"type\":1,\"invocationId\":\"7\",\"target\":\"{method}\",\"arguments\":{arguments}}}\u{1e}"
    );
    socket.send(&frame(0x81, message.as_bytes())).await.unwrap();
    socket.heard().await.unwrap()
}

async fn with_roles(listening: &Listening, roles: &[&str]) -> RawSocket {
    let claims: Vec<(&str, &str)> = roles.iter().map(|role| ("role", *role)).collect();
    let path = format!("/client/?hub=chat&access_token={}", client_token("chat", &claims));
    let (mut socket, head) = RawSocket::upgrade(&listening.authority, &path, "").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket.send(&frame(0x81, b"{\"protocol\":\"json\",\"version\":1}\x1e")).await.unwrap();
    assert_eq!(socket.heard().await.unwrap(), "text {}\u{1e}");
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_exact_role_is_refused() {
    let listening = Fixture::start(options()).await.listen();
    // Roles that are similar to the right ones.
    let almost = [
        "chappe",
        "chappe.",
        "chappe.joinLeaveGroup.other",
        "chappe.joinLeaveGroup.g ",
        "Chappe.JoinLeaveGroup.g",
        "chappe.sendToGroup.g.h",
        "*",
    ];
    for roles in [&[][..], &almost] {
        let mut socket = with_roles(&listening, roles).await;
        for (method, arguments) in [
            ("chappe.joinGroup", r#"["g"]"#),
            ("chappe.leaveGroup", r#"["g"]"#),
            ("chappe.sendToGroup", r#"["g","hi",1]"#),
        ] {
            let heard = call(&mut socket, method, arguments).await;
            assert!(
                heard.contains("\"invocationId\":\"7\",\"error\":\"the client's token has no role"),
                "{heard}"
            );
        }
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_arguments_complete_with_an_error() {
    let listening = Fixture::start(options()).await.listen();
    let mut socket = with_roles(&listening, &["chappe.joinLeaveGroup", "chappe.sendToGroup"]).await;
    let long = format!("[\"{}\"]", "g".repeat(1_025));
    let deep = format!("[{}{}]", "[".repeat(100), "]".repeat(100));
    let beyond = "9".repeat(400);
    for (method, arguments) in [
        ("chappe.", "[]"),
        ("chappe.nothing", "[]"),
        ("Chappe.Nothing", "[]"),
        ("chappe.joinGroup", "[]"),
        ("chappe.joinGroup", "[null]"),
        ("chappe.joinGroup", "[1]"),
        ("chappe.joinGroup", r#"[["g"]]"#),
        ("chappe.joinGroup", r#"[""]"#),
        ("chappe.joinGroup", r#"["  "]"#),
        ("chappe.joinGroup", &long),
        ("chappe.joinGroup", &deep),
        ("chappe.joinGroup", &format!("[{beyond}]")),
        ("chappe.sendToGroup", r#"["g"]"#),
        ("chappe.sendToGroup", r#"["g",""]"#),
        ("chappe.sendToGroup", r#"["g",1]"#),
        ("chappe.sendToGroup", r#"[null,"x"]"#),
        ("chappe.follow", "[1]"),
        ("chappe.follow", r#"[null,1]"#),
        ("chappe.follow", r#"[null,"x"]"#),
        ("chappe.follow", r#"[null,"18446744073709551616-1"]"#),
        ("chappe.follow", r#"["not-kept",null]"#),
        ("chappe.unfollow", r#"[{}]"#),
    ] {
        let heard = call(&mut socket, method, arguments).await;
        assert!(
            heard.starts_with("text {\"type\":3,\"invocationId\":\"7\",\"error\":\""),
            "{method} {arguments}: {heard}"
        );
        assert!(heard.len() < 1_000, "{heard}");
    }
    // Invocations without an id, and streams, of the same methods.
    let quiet = "{\"type\":1,\"target\":\"chappe.joinGroup\",\"arguments\":[1]}\u{1e}";
    let stream =
        "{\"type\":4,\"invocationId\":\"8\",\"target\":\"chappe.joinGroup\",\"arguments\":[\"g\"]}\u{1e}";
    socket.send(&frame(0x81, [quiet, stream].concat().as_bytes())).await.unwrap();
    let heard = socket.heard().await.unwrap();
    assert!(heard.starts_with("text {\"type\":3,\"invocationId\":\"8\",\"error\":\""), "{heard}");
    assert!(
        call(&mut socket, "chappe.joinGroup", r#"["g"]"#).await.ends_with("\"invocationId\":\"7\"}\u{1e}")
    );
    still_serves(&listening).await;
    drop(connected(&listening, HubProtocol::Json).await);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_of_the_service_are_invoked_in_any_case() {
    let listening = Fixture::start(options()).await.listen();
    let mut socket = with_roles(&listening, &["chappe.joinLeaveGroup"]).await;
    for method in ["chappe.joinGroup", "Chappe.JoinGroup", "CHAPPE.LEAVEGROUP"] {
        let heard = call(&mut socket, method, r#"["g"]"#).await;
        assert!(heard.ends_with("{\"type\":3,\"invocationId\":\"7\"}\u{1e}"), "{method}: {heard}");
    }
    listening.stop().await;
}
