//! Which proxy a request takes, if any. Pure.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::uri::Authority;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::error::OptionsError;
use crate::policy::Cidr;

/// Where a client looks for proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyChoice {
    /// In `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or the same in small letters, which go first.
    #[default]
    Environment,
    /// Nowhere.
    Off,
    /// Here.
    Urls(ProxyUrls),
}

/// Proxies by name. Addresses of this host itself are always reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyUrls {
    /// The proxy for `http` requests, such as `http://user:password@proxy:3128`. Default none.
    pub http: Option<String>,
    /// The proxy for `https` requests. Default none.
    pub https: Option<String>,
    /// Hosts that are reached directly: names (with all below them), addresses, networks, each with an optional port, or `*`.
    /// Default none.
    pub no_proxy: Vec<String>,
}

/// A proxy that takes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of Proxy-Authorization.
    pub(crate) authorization: Option<HeaderValue>,
}

/// All proxies of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<Direct>,
}

/// An entry of the list of hosts that are reached directly.
#[derive(Clone, Debug)]
struct Direct {
    host: DirectHost,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum DirectHost {
    All,
    Name(String),
    Network(Cidr),
}

impl Proxies {
    pub(crate) fn new(choice: &ProxyChoice) -> Result<Self, OptionsError> {
        match choice {
            ProxyChoice::Environment => Self::from_urls(&from_environment(|name| std::env::var(name).ok())),
            ProxyChoice::Off => Ok(Self::default()),
            ProxyChoice::Urls(urls) => Self::from_urls(urls),
        }
    }

    fn from_urls(urls: &ProxyUrls) -> Result<Self, OptionsError> {
        let proxy = |url: &Option<String>| url.as_deref().map(parse).transpose();
        let direct = urls.no_proxy.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty());
        Ok(Self {
            http: proxy(&urls.http)?,
            https: proxy(&urls.https)?,
            direct: direct.map(Direct::parse).collect(),
        })
    }

    /// The proxy that takes a request to `uri`.
    pub(crate) fn find(&self, uri: &Uri) -> Option<&Proxy> {
        let (proxy, default_port) = match uri.scheme_str() {
            Some("https") => (self.https.as_ref()?, 443),
            _ => (self.http.as_ref()?, 80),
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(default_port);
        let address: Option<IpAddr> = host.parse().ok();
        let ourselves = host.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address.to_canonical().is_loopback());
        let direct = ourselves || self.direct.iter().any(|entry| entry.matches(host, address, port));
        (!direct).then_some(proxy)
    }
}

impl Direct {
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self { host: DirectHost::All, port: None };
        }
        if let Ok(network) = entry.parse() {
            return Self { host: DirectHost::Network(network), port: None };
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => (host, port.parse().ok()),
            _ => (entry, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = match host.parse() {
            Ok(network) => DirectHost::Network(network),
            Err(_name) => {
                DirectHost::Name(host.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase())
            }
        };
        Self { host, port }
    }

    fn matches(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        if self.port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        match &self.host {
            DirectHost::All => true,
            DirectHost::Network(network) => {
                address.is_some_and(|address| network.contains(address.to_canonical()))
            }
            DirectHost::Name(name) => {
                let host = host.to_ascii_lowercase();
                host.strip_suffix(name.as_str()).is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
        }
    }
}

/// The variables as curl and others read them.
fn from_environment(variable: impl Fn(&str) -> Option<String>) -> ProxyUrls {
    let either = |name: &str| {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        set(&name.to_ascii_lowercase()).or_else(|| set(name))
    };
    let no_proxy = either("NO_PROXY").unwrap_or_default();
    ProxyUrls {
        http: either("HTTP_PROXY").or_else(|| either("ALL_PROXY")),
        https: either("HTTPS_PROXY").or_else(|| either("ALL_PROXY")),
        no_proxy: no_proxy.split(',').map(str::to_owned).collect(),
    }
}

/// Reads the address of a proxy; without a scheme it is `http`. The error does not repeat it, because it may hold a password.
fn parse(url: &str) -> Result<Proxy, OptionsError> {
    let authority = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => return Err(OptionsError::ProxyScheme { scheme: scheme.to_owned() }),
        None => url,
    };
    let authority: Authority =
        authority.trim_end_matches('/').parse().map_err(|_malformed| OptionsError::ProxyMalformed)?;
    let authorization = authority.as_str().rsplit_once('@').map(|(login, _)| basic(login));
    Ok(Proxy {
        host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: authority.port_u16().unwrap_or(80),
        authorization,
    })
}

/// The value of Proxy-Authorization for `user:password`, percent-encoded as in a URL (RFC 7617).
fn basic(login: &str) -> HeaderValue {
    let login: Vec<u8> = percent_decode_str(login).collect();
    let text = format!("Basic {}", STANDARD.encode(login));
    let mut value = HeaderValue::try_from(text).expect("base64 is a field value");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(urls: &ProxyUrls) -> Proxies {
        Proxies::from_urls(urls).expect("proxies")
    }

    fn check(proxies: &Proxies, uri: &str, expected: Option<&str>) {
        let found = proxies.find(&uri.parse().expect("an address"));
        assert_eq!(found.map(|proxy| proxy.host.as_str()), expected, "{uri}");
    }

    #[test]
    fn the_scheme_and_the_list_decide() {
        let no_proxy = ["example.com", ".inner.test", "10.0.0.0/8", "exact.test:8080", " spaced.test ", ""]
            .map(str::to_owned);
        let proxies = proxies(&ProxyUrls {
            http: Some("plain:3128".to_owned()),
            https: Some("http://secure:3128/".to_owned()),
            no_proxy: no_proxy.to_vec(),
        });
        check(&proxies, "http://a.test/", Some("plain"));
        check(&proxies, "https://a.test/", Some("secure"));
        check(&proxies, "http://Example.com/", None);
        check(&proxies, "http://www.example.com/", None);
        check(&proxies, "http://notexample.com/", Some("plain"));
        check(&proxies, "http://a.inner.test/", None);
        check(&proxies, "http://10.9.8.7/", None);
        check(&proxies, "http://11.9.8.7/", Some("plain"));
        check(&proxies, "http://exact.test:8080/", None);
        check(&proxies, "http://exact.test/", Some("plain"));
        check(&proxies, "https://spaced.test/", None);
        for ourselves in ["http://localhost:1/", "http://127.0.0.1/", "http://[::1]:8080/"] {
            check(&proxies, ourselves, None);
        }
    }

    #[test]
    fn the_environment_is_read_as_by_others() {
        let from = |variables: &[(&str, &str)]| {
            from_environment(|name| {
                variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let urls = from(&[("HTTP_PROXY", "big"), ("http_proxy", "small"), ("NO_PROXY", "a.test, b.test")]);
        assert_eq!(urls.http.as_deref(), Some("small"));
        assert_eq!(urls.https, None);
        let proxies = proxies(&urls);
        check(&proxies, "http://b.test/", None);
        check(&proxies, "http://c.test/", Some("small"));
        assert_eq!(from(&[("ALL_PROXY", "all")]).https.as_deref(), Some("all"));
        assert_eq!(
            from(&[("HTTP_PROXY", "")]),
            ProxyUrls { no_proxy: vec![String::new()], ..Default::default() }
        );
    }

    #[test]
    fn a_login_becomes_a_header_and_a_bad_address_an_error() {
        let proxy = parse("http://us%40er:pass@[::1]:3128").expect("a proxy");
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 3128));
        // `us@er:pass`
        assert_eq!(proxy.authorization.expect("a login"), "Basic dXNAZXI6cGFzcw==");
        assert!(
            matches!(parse("socks5://x"), Err(OptionsError::ProxyScheme { scheme }) if scheme == "socks5")
        );
        assert!(matches!(parse("http://a b"), Err(OptionsError::ProxyMalformed)));
    }
}
