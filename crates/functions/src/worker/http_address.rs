//! Where a worker takes HTTP requests itself: the value of its capability `HttpUri`.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;

/// How long a worker has to listen at its address once its functions are loaded. .NET's binds its port only then.
const LISTEN_WAIT: Duration = Duration::from_secs(2);

/// Pause between two looks whether it listens.
const LISTEN_PAUSE: Duration = Duration::from_millis(20);

/// Reads the address. Requests are only ever handed to this machine.
///
/// # Errors
///
/// What is wrong with it, as a sentence.
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
            "it announces that it takes HTTP requests at '{text}' (capability HttpUri); that must be an address of this machine, \
             such as http://127.0.0.1:8080/"
        )
    })
}

/// Waits until somebody accepts connections there, for a bounded time. `false` if nobody does.
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
    fn only_addresses_of_this_machine_with_a_port_are_taken() {
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
