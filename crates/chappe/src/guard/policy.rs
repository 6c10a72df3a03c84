//! Decides which names and pages are admitted. Pure.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use super::rules::GuardAudience;
use crate::config::HostName;

/// Names by which containers reach their host machine (Docker Desktop, Podman). No public name server resolves them.
const HOST_OF_CONTAINERS: [&str; 3] =
    ["host.docker.internal", "gateway.docker.internal", "host.containers.internal"];

/// What is admitted.
#[derive(Debug)]
pub(super) struct Policy {
    /// Whether only this machine can connect: then keys are public, and only the name and the page can be checked.
    development: bool,
    /// Whether unknown names are refused.
    checks_names: bool,
    /// Configured names, in lower case.
    names: Vec<String>,
    /// The public authority of this process behind a proxy.
    public: Option<Authority>,
}

impl Policy {
    pub(super) fn new(development: bool, public_url: Option<&str>, hosts: &[HostName]) -> Self {
        let public = public_url.and_then(|url| url.parse::<Uri>().ok()?.into_parts().authority);
        Self {
            development,
            checks_names: development || !hosts.is_empty(),
            names: hosts.iter().map(|host| host.as_str().to_owned()).collect(),
            public,
        }
    }

    /// Whether this process may be addressed by this name. A page from another site can reach a listener on loopback through its
    /// own host name, if its name server then returns 127.0.0.1 (DNS rebinding); the host name reveals it. An IP address involves
    /// no name server.
    pub(super) fn admits_host(&self, target: &Uri) -> bool {
        !self.checks_names || target.host().is_some_and(|host| self.is_known(host) || is_address(host))
    }

    /// Whether the page that sent a request, if any, may call a path of this audience.
    pub(super) fn admits_page(
        &self,
        audience: GuardAudience,
        method: &Method,
        target: &Uri,
        headers: &HeaderMap,
    ) -> bool {
        let is_checked = match audience {
            GuardAudience::Anyone | GuardAudience::Browser => false,
            GuardAudience::App | GuardAudience::Person => self.development,
            GuardAudience::Operator => true,
        };
        if !is_checked {
            return true;
        }
        let mut origins = headers.get_all(header::ORIGIN).iter().peekable();
        if origins.peek().is_some() {
            return origins.all(|origin| self.admits_origin(audience, origin, target));
        }
        // Browsers send no origin with a GET whose response no script reads, but state the relation of the sites
        // (`Sec-Fetch-Site`).
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => true,
            Some(b"same-site") if audience == GuardAudience::App => true,
            Some(_) => is_navigation(method, headers),
        }
    }

    fn admits_origin(&self, audience: GuardAudience, origin: &HeaderValue, target: &Uri) -> bool {
        let Some(origin) = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok()) else {
            return false;
        };
        let Some(authority) = origin.authority() else { return false };
        Some(authority) == target.authority()
            || Some(authority) == self.public.as_ref()
            || (audience == GuardAudience::App
                && (self.is_known(authority.host()) || is_loopback(authority.host())))
    }

    /// Whether a name is one of this machine, or configured.
    fn is_known(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let is = |name: &str| name.eq_ignore_ascii_case(host);
        let below_localhost = host.len() > ".localhost".len()
            && host
                .get(host.len() - ".localhost".len()..)
                .is_some_and(|end| end.eq_ignore_ascii_case(".localhost"));
        is("localhost")
            || below_localhost
            || HOST_OF_CONTAINERS.into_iter().any(is)
            || self.public.as_ref().is_some_and(|public| is(public.host()))
            || self.names.iter().any(|name| is(name))
    }
}

/// A followed link or a typed address, as a top-level navigation: the page with the link cannot read the response.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    method.is_safe() && says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document")
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_address(host: &str) -> bool {
    address(host).is_some()
}

fn is_loopback(host: &str) -> bool {
    address(host).is_some_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(development: bool) -> Policy {
        let hosts = [HostName::try_from("dev.example.test".to_owned()).expect("a name")];
        let hosts: &[HostName] = if development { &hosts } else { &[] };
        Policy::new(development, Some("https://live.example.org"), hosts)
    }

    fn host(policy: &Policy, host: &str) -> bool {
        policy.admits_host(&format!("http://{host}/x").parse().expect("an address"))
    }

    fn page(audience: GuardAudience, method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let target = "http://localhost:8080/x".parse().expect("an address");
        policy(true).admits_page(audience, method, &target, &map)
    }

    #[test]
    fn host_names_of_this_machine_and_configured_ones_are_allowed() {
        let policy = policy(true);
        for name in [
            "localhost",
            "LOCALHOST.:8080",
            "app.localhost:3000",
            "127.0.0.1:7071",
            "127.9.9.9",
            "[::1]:8888",
            "10.0.2.2:8081",
            "host.docker.internal:8081",
            "dev.example.test:8080",
            "live.example.org",
        ] {
            assert!(host(&policy, name), "{name}");
        }
        for name in
            ["evil.example", "localhost.evil.example", "notlocalhost", ".localhost", "127.0.0.1.evil.example"]
        {
            assert!(!host(&policy, name), "{name}");
        }
    }

    #[test]
    fn outside_development_host_names_are_checked_if_some_are_configured() {
        assert!(host(&policy(false), "anything.example"));
        let hosts = [HostName::try_from("a.example".to_owned()).expect("a name")];
        let configured = Policy::new(false, None, &hosts);
        assert!(
            host(&configured, "a.example")
                && host(&configured, "10.1.2.3")
                && !host(&configured, "b.example")
        );
    }

    #[test]
    fn pages_of_other_origins_can_call_browser_paths_only() {
        let evil = [("origin", "https://evil.example")];
        for (audience, admitted) in [
            (GuardAudience::Anyone, true),
            (GuardAudience::Browser, true),
            (GuardAudience::App, false),
            (GuardAudience::Person, false),
            (GuardAudience::Operator, false),
        ] {
            for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
                assert_eq!(page(audience, &method, &evil), admitted, "{audience:?} {method}");
                assert_eq!(page(audience, &method, &[("origin", "null")]), admitted, "{audience:?} {method}");
                let no_origin = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
                assert_eq!(page(audience, &method, &no_origin), admitted, "{audience:?} {method}");
            }
        }
    }

    #[test]
    fn pages_of_loopback_origins_have_the_same_access_as_apps() {
        for origin in
            ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:1", "https://dev.example.test"]
        {
            assert!(page(GuardAudience::App, &Method::POST, &[("origin", origin)]), "{origin}");
            assert!(!page(GuardAudience::Person, &Method::POST, &[("origin", origin)]), "{origin}");
        }
        for origin in ["http://localhost:8080", "https://live.example.org"] {
            assert!(page(GuardAudience::Person, &Method::POST, &[("origin", origin)]), "{origin}");
        }
        assert!(!page(GuardAudience::Person, &Method::GET, &[("sec-fetch-site", "same-site")]));
        let two = [("origin", "http://localhost:8080"), ("origin", "https://evil.example")];
        assert!(
            !page(GuardAudience::App, &Method::POST, &two),
            "every origin that is named must be admitted"
        );
    }

    #[test]
    fn requests_of_programs_and_followed_links_are_not_cross_origin() {
        assert!(page(GuardAudience::Operator, &Method::POST, &[]));
        assert!(page(GuardAudience::Operator, &Method::GET, &[("sec-fetch-site", "none")]));
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(page(GuardAudience::Operator, &Method::GET, &link));
        assert!(!page(GuardAudience::Operator, &Method::POST, &link), "a form that is sent");
        let frame =
            [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        assert!(!page(GuardAudience::Operator, &Method::GET, &frame));
    }

    #[test]
    fn outside_development_pages_of_any_origin_can_call_app_paths() {
        let mut headers = HeaderMap::new();
        headers.insert("origin", HeaderValue::from_static("https://portal.example"));
        let target = "https://live.example.org/x".parse().expect("an address");
        let admits = |audience| policy(false).admits_page(audience, &Method::POST, &target, &headers);
        assert!(
            admits(GuardAudience::App) && admits(GuardAudience::Person) && !admits(GuardAudience::Operator)
        );
    }
}
