//! Checks who may call the admin API: only this machine, by one of its own names. The guard, which runs first, checks the paths.

use http::{Extensions, Response, Uri};
use http_messages::{ADMIN_NO_SUCH_PATH, Body, ErrorDescription};

use super::error_table;

/// Why a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminError {
    NotThisMachine,
    NoSuchPath,
    NoTraceId,
    InvalidConfiguration,
    ServiceOff,
}

/// Extension that marks a request received on the admin port: the operator who opened that port decides who can reach it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnPort;

/// Admits a request, or returns why it is rejected.
pub(super) fn admit(uri: &Uri, extensions: &Extensions) -> Result<(), AdminError> {
    if extensions.get::<OwnPort>().is_some() {
        return Ok(());
    }
    let peer = extensions.get::<edge::Peer>();
    let here = peer.is_some_and(|peer| peer.remote.ip().to_canonical().is_loopback());
    // A page of another site can make a browser on this machine connect here under that site's host name (DNS rebinding). The
    // requested host name reveals it.
    if !here || !uri.host().is_some_and(is_loopback_name) {
        return Err(AdminError::NotThisMachine);
    }
    Ok(())
}

fn is_loopback_name(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl AdminError {
    fn description(self) -> &'static ErrorDescription {
        match self {
            Self::NotThisMachine => &error_table::NOT_THIS_MACHINE,
            Self::NoSuchPath => &ADMIN_NO_SUCH_PATH,
            Self::NoTraceId => &error_table::NO_TRACE_ID,
            Self::InvalidConfiguration => &error_table::INVALID_CONFIGURATION,
            Self::ServiceOff => &error_table::SERVICE_OFF,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::NotThisMachine => "Only this machine may ask, by the name localhost or a loopback address.",
            Self::NoSuchPath => "The admin API has no such operation.",
            Self::NoTraceId => "A trace id is 32 lower-case hexadecimal digits.",
            Self::ServiceOff => "The service of this operation does not run in this process.",
            Self::InvalidConfiguration => {
                "The configuration is wrong or cannot be applied; nothing was changed."
            }
        }
    }

    pub(super) fn respond(self) -> Response<Body> {
        self.respond_with(self.message())
    }

    /// Replaces the message by a more detailed one.
    pub(super) fn respond_with(self, message: &str) -> Response<Body> {
        self.description().json_response(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn ask(uri: &str, remote: &str) -> Result<(), AdminError> {
        let (mut parts, ()) = Request::get(uri).body(()).expect("a request").into_parts();
        let remote = remote.parse().expect("an address");
        parts.extensions.insert(edge::Peer { remote, local: remote, tls: false });
        admit(&parts.uri, &parts.extensions)
    }

    #[test]
    fn only_loopback_requests_with_a_loopback_host_are_allowed() {
        assert_eq!(ask("http://localhost:8080/metrics", "127.0.0.1:9"), Ok(()));
        assert_eq!(ask("http://[::1]:8080/metrics", "[::1]:9"), Ok(()));
        let elsewhere = Err(AdminError::NotThisMachine);
        assert_eq!(ask("http://localhost:8080/metrics", "192.168.1.9:9"), elsewhere);
        assert_eq!(ask("http://evil.example:8080/metrics", "127.0.0.1:9"), elsewhere);
    }
}
