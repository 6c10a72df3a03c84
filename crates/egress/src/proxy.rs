//! Selects the proxy of a request, if any, by the rules of `hyper-util`. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use http::uri::Authority;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use serde::{Deserialize, Serialize};

use crate::error::OptionsError;
use crate::policy::Cidr;

/// Where a client looks for proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyChoice {
    /// In `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, or the same names in lower case, which take precedence.
    #[default]
    Environment,
    /// Nowhere.
    Off,
    /// Here.
    Urls(ProxyUrls),
}

/// Proxies by name. Addresses of this host itself are always reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyUrls {
    /// The proxy for `http` requests, such as `http://user:password@proxy:3128`. A secret. Default none.
    pub http: Option<String>,
    /// The proxy for `https` requests. A secret. Default none.
    pub https: Option<String>,
    /// Hosts that are reached directly: names (with all below them), addresses, networks, each with an optional port, or `*`.
    /// Default none.
    pub no_proxy: Vec<String>,
}

/// All proxies of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    /// `None` if there is no proxy.
    matcher: Option<Arc<Matcher>>,
    /// Hosts that are reached directly on one port only, which the matcher does not support.
    direct_on_port: Arc<[(Matcher, u16)]>,
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
        let checked = |url: &Option<String>| url.as_deref().map(check).transpose();
        let (http, https) = (checked(&urls.http)?, checked(&urls.https)?);
        if http.is_none() && https.is_none() {
            return Ok(Self::default());
        }
        let mut direct = Vec::new();
        let mut direct_on_port = Vec::new();
        for entry in urls.no_proxy.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()) {
            match entry.rsplit_once(':') {
                Some((host, port)) if entry.parse::<Cidr>().is_err() && port.parse::<u16>().is_ok() => {
                    let port = port.parse().expect("it was parsed before");
                    direct_on_port.push((matching_all_but(&name(host)), port));
                }
                _ => direct.push(name(entry)),
            }
        }
        let matcher = Matcher::builder()
            .http(http.unwrap_or_default())
            .https(https.unwrap_or_default())
            .no(direct.join(","))
            .build();
        Ok(Self { matcher: Some(Arc::new(matcher)), direct_on_port: direct_on_port.into() })
    }

    /// The proxy for a request to `uri`; `None` if the host is reached directly.
    pub(crate) fn find(&self, uri: &Uri) -> Option<Intercept> {
        let matcher = self.matcher.as_ref()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = host.parse().ok();
        let is_this_host = host.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address.to_canonical().is_loopback());
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let is_direct = |(all_but, direct_port): &(Matcher, u16)| {
            *direct_port == port && all_but.intercept(uri).is_none()
        };
        if is_this_host || self.direct_on_port.iter().any(is_direct) {
            return None;
        }
        matcher.intercept(uri)
    }
}

/// An entry of the list as the matcher reads it: `*.example.com` means `example.com` and all names below it.
fn name(entry: &str) -> String {
    entry.trim_start_matches("*.").trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Intercepts requests to every other host, so that the same rules match this host.
fn matching_all_but(host: &str) -> Matcher {
    Matcher::builder().all("http://proxy.invalid").no(host).build()
}

/// The variables that curl and other programs read.
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

/// Checks the address of a proxy; without a scheme it is `http`. The error does not repeat it, because it may contain a password.
fn check(url: &str) -> Result<String, OptionsError> {
    let authority = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => return Err(OptionsError::ProxyScheme { scheme: scheme.to_owned() }),
        None => url,
    };
    let _: Authority =
        authority.trim_end_matches('/').parse().map_err(|_malformed| OptionsError::ProxyMalformed)?;
    Ok(format!("http://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(urls: &ProxyUrls) -> Proxies {
        Proxies::from_urls(urls).expect("proxies")
    }

    fn finds(proxies: &Proxies, uri: &str, expected: Option<&str>) {
        let found = proxies.find(&uri.parse().expect("an address"));
        assert_eq!(found.as_ref().and_then(|proxy| proxy.uri().host()), expected, "{uri}");
    }

    #[test]
    fn the_proxy_is_chosen_by_scheme_and_no_proxy_list() {
        let no_proxy = ["example.com", ".inner.test", "10.0.0.0/8", "exact.test:8080", " spaced.test ", ""]
            .map(str::to_owned);
        let proxies = proxies(&ProxyUrls {
            http: Some("plain:3128".to_owned()),
            https: Some("http://secure:3128/".to_owned()),
            no_proxy: no_proxy.to_vec(),
        });
        finds(&proxies, "http://a.test/", Some("plain"));
        finds(&proxies, "https://a.test/", Some("secure"));
        finds(&proxies, "http://Example.com/", None);
        finds(&proxies, "http://www.example.com/", None);
        finds(&proxies, "http://notexample.com/", Some("plain"));
        finds(&proxies, "http://a.inner.test/", None);
        finds(&proxies, "http://10.9.8.7/", None);
        finds(&proxies, "http://11.9.8.7/", Some("plain"));
        finds(&proxies, "http://exact.test:8080/", None);
        finds(&proxies, "http://exact.test/", Some("plain"));
        finds(&proxies, "https://spaced.test/", None);
        for ourselves in ["http://localhost:1/", "http://127.0.0.1/", "http://[::1]:8080/"] {
            finds(&proxies, ourselves, None);
        }
    }

    #[test]
    fn lower_case_proxy_variables_override_upper_case_ones() {
        let from = |variables: &[(&str, &str)]| {
            from_environment(|name| {
                variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let urls = from(&[("HTTP_PROXY", "big"), ("http_proxy", "small"), ("NO_PROXY", "a.test, b.test")]);
        assert_eq!(urls.http.as_deref(), Some("small"));
        assert_eq!(urls.https, None);
        let proxies = proxies(&urls);
        finds(&proxies, "http://b.test/", None);
        finds(&proxies, "http://c.test/", Some("small"));
        assert_eq!(from(&[("ALL_PROXY", "all")]).https.as_deref(), Some("all"));
        assert_eq!(
            from(&[("HTTP_PROXY", "")]),
            ProxyUrls { no_proxy: vec![String::new()], ..Default::default() }
        );
    }

    #[test]
    fn credentials_become_a_header_and_an_invalid_address_is_an_error() {
        let proxies = proxies(&ProxyUrls {
            http: Some("http://us%40er:pass@[::1]:3128".to_owned()),
            ..Default::default()
        });
        let proxy = proxies.find(&Uri::from_static("http://a.test/")).expect("a proxy");
        assert_eq!((proxy.uri().host(), proxy.uri().port_u16()), (Some("[::1]"), Some(3128)));
        // `us@er:pass`
        assert_eq!(proxy.basic_auth().expect("a login"), "Basic dXNAZXI6cGFzcw==");
        assert!(
            matches!(check("socks5://x"), Err(OptionsError::ProxyScheme { scheme }) if scheme == "socks5")
        );
        assert!(matches!(check("http://a b"), Err(OptionsError::ProxyMalformed)));
    }
}
