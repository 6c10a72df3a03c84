//! The address at which a worker accepts HTTP requests itself: the value of its capability `HttpUri`.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;

/// How long a worker may take to listen at its address once its functions are loaded. The .NET worker binds its port only then.
const LISTEN_WAIT: Duration = Duration::from_secs(2);

/// Pause between two attempts to connect.
const LISTEN_PAUSE: Duration = Duration::from_millis(20);

/// Parses the address, which must be of this machine.
///
/// # Errors
///
/// A sentence that says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Uri, String> {
    let is_here = |uri: &Uri| {
        let host = uri.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    };
    let uri = text.parse::<Uri>().ok();
    let uri = uri.filter(|uri| uri.scheme_str() == Some("http") && uri.port().is_some() && is_here(uri));
    uri.ok_or_else(|| {
        format!(
            "it announces that it accepts HTTP requests at '{text}' (capability HttpUri); that must be an address of this machine, \
             such as http://127.0.0.1:8080/"
        )
    })
}

/// Waits, for a bounded time, until connections to the address are accepted. `false` if they are not.
pub(super) async fn listens(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = address.port_u16().unwrap_or_default();
    let connected = async {
        while TcpStream::connect((host.as_str(), port)).await.is_err() {
            tokio::time::sleep(LISTEN_PAUSE).await;
        }
    };
    tokio::time::timeout(LISTEN_WAIT, connected).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_with_a_port_are_valid() {
        for good in
            ["http://localhost:39577/", "http://127.0.0.1:5000", "http://[::1]:5000/", "HTTP://LocalHost:1/"]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "localhost:5000",
            "http://localhost/",
            "https://localhost:1/",
            "http://10.0.0.1:80/",
            "http://a.test:80/",
        ] {
            let problem = parse(bad).expect_err("no address of this machine");
            assert!(problem.contains(&format!("'{bad}' (capability HttpUri)")), "{problem}");
        }
    }
}
