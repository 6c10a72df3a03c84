//! A client that is restricted to the public Internet cannot reach the internal network.

use egress::{AddressPolicy, Options, SendError};

use crate::harness::{Server, client, get, options, text};

#[tokio::test]
async fn names_and_addresses_of_this_host_are_rejected() {
    let server = Server::start().await;
    let port = server.address.port();
    let client = client(&Options { addresses: AddressPolicy::public_only(), ..options() });
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"] {
        let error = client.call(get(&format!("http://{host}:{port}/"))).await.expect_err("it is refused");
        assert!(matches!(error, SendError::Refused { .. }) && error.nothing_sent(), "{host}: {error:?}");
    }
    let error = client.call(get(&format!("http://127.0.0.1:{port}/"))).await.expect_err("it is refused");
    assert_eq!(error.to_string(), "127.0.0.1 is at 127.0.0.1, which must not be reached from here");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn addresses_on_the_allow_list_can_be_reached() {
    let server = Server::start().await;
    let allow = vec!["127.0.0.0/8".parse().expect("a network")];
    let addresses = AddressPolicy { allow, ..AddressPolicy::public_only() };
    let client = client(&Options { addresses, ..options() });
    // With IPv6 the name has two addresses; only the allowed one is tried.
    let seen = text(&client, &format!("http://localhost:{}/", server.address.port())).await;
    assert!(seen.starts_with("GET /"), "{seen}");
}
