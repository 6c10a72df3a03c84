//! Ports are bound, or the error says why not.

use std::net::{Ipv4Addr, TcpStream};

use edge::{BindError, Listener};

#[test]
fn binding_a_port_in_use_is_a_distinct_error() {
    let first = Listener::bind("first", (Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let address = first.local_addr();
    let error = Listener::bind("second", address).expect_err("the port is taken");
    assert!(matches!(error, BindError::Taken { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on {address}: ")), "{text}");
    assert!(
        text.ends_with(" already listens there; stop it, or choose another port (0 takes any free one)"),
        "{text}"
    );
    let error = Listener::bind_localhost("third", address.port()).expect_err("the port is taken");
    assert!(matches!(error, BindError::Taken { .. }), "{error:?}");
}

/// Only Linux reports the process, under `/proc`.
#[cfg(target_os = "linux")]
#[test]
fn the_error_names_the_process_that_uses_the_port() {
    let first = Listener::bind_localhost("first", 0).expect("a free port");
    let error = Listener::bind_localhost("second", first.local_addr().port()).expect_err("the port is taken");
    let BindError::Taken { holder: Some(holder), .. } = &error else { panic!("{error:?}") };
    assert_eq!(holder.pid, std::process::id());
    let program = std::env::args().next().expect("the test has a name");
    assert!(holder.command.starts_with(&program.chars().take(90).collect::<String>()), "{holder}");
    assert!(error.to_string().contains(&format!("process {} (", holder.pid)), "{error}");
}

#[test]
fn binding_an_address_of_another_machine_is_a_distinct_error() {
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
    // IPv6 is optional on a machine; if it has IPv6, the listener must use it.
    let ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(addresses.len(), if ipv6 { 2 } else { 1 });
}
