//! Ports are taken, or it is said why not.

use std::net::{Ipv4Addr, TcpStream};

use edge::{BindError, Listener};

#[test]
fn a_taken_port_is_told_from_others() {
    let first = Listener::bind("first", (Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = first.local_addr();
    let error = Listener::bind("second", address).expect_err("the port is taken");
    assert!(matches!(error, BindError::Taken { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {address}: another program already listens there; stop it, or choose another port (0 takes any free one)"
        )
    );
    let error = Listener::bind_localhost("third", address.port()).expect_err("the port is taken");
    assert!(matches!(error, BindError::Taken { .. }), "{error:?}");
}

#[test]
fn a_foreign_address_is_told_from_others() {
    // TEST-NET-1 (RFC 5737): no machine has it.
    let error = Listener::bind("foreign", ([192, 0, 2, 1], 0).into()).expect_err("not our address");
    assert!(matches!(error, BindError::NoSuchAddress { .. }), "{error:?}");
}

#[test]
fn localhost_is_both_families_on_one_port() {
    let listener = Listener::bind_localhost("local", 0).expect("a free port");
    let addresses = listener.local_addrs();
    assert_eq!(addresses[0], listener.local_addr());
    assert!(addresses.iter().all(|address| address.port() == addresses[0].port()));
    for address in &addresses {
        TcpStream::connect(address).expect("a bound port queues connections");
    }
    // Whether this machine has IPv6 is its own affair; if it has, we must be there.
    let ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(addresses.len(), if ipv6 { 2 } else { 1 });
}
