//! Makes the address of a request absolute: the origin by which the client reached us. Pure.

use std::net::SocketAddr;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, Version, header};
use http_messages::ErrorDescription;

use crate::error_table;

/// Why a request has no usable address. The text is for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OriginError {
    #[error(
        "The request has no Host field. HTTP/1.1 requires one; send for example `Host: example.com:8080`."
    )]
    Missing,
    #[error("The request has several Host fields. Send exactly one.")]
    Several,
    #[error("`{0}` is not a host name with an optional port. Send for example `Host: example.com:8080`.")]
    Malformed(String),
    #[error("CONNECT is for proxies, and this server is not a proxy. Send the request itself.")]
    Connect,
}

impl OriginError {
    pub(crate) fn description(&self) -> &'static ErrorDescription {
        match self {
            Self::Missing => &error_table::NO_HOST,
            Self::Several => &error_table::SEVERAL_HOSTS,
            Self::Malformed(_) => &error_table::MALFORMED_HOST,
            Self::Connect => &error_table::CONNECT_NOT_SUPPORTED,
        }
    }
}

/// The URI of a request, made absolute with the scheme of the connection and the host that the client named.
///
/// The request target's host takes precedence over the Host field (RFC 9112 section 3.2.2). A client of HTTP/1.0 may name none;
/// then our address is used. `OPTIONS *` becomes the origin itself (RFC 9112 section 3.3).
pub(crate) fn absolute(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    version: Version,
    local: SocketAddr,
    tls: bool,
) -> Result<Uri, OriginError> {
    if *method == Method::CONNECT {
        return Err(OriginError::Connect);
    }
    let authority = match uri.authority() {
        Some(authority) => checked(authority.clone())?,
        None => host_field(headers, version, local)?,
    };
    let path = match uri.path_and_query() {
        Some(path) if path.as_str() != "*" => path.clone(),
        _ => PathAndQuery::from_static("/"),
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Ok(Uri::from_parts(parts).expect("scheme, authority and path make a URI"))
}

fn host_field(headers: &HeaderMap, version: Version, local: SocketAddr) -> Result<Authority, OriginError> {
    let mut fields = headers.get_all(header::HOST).iter();
    let Some(field) = fields.next() else {
        return if version < Version::HTTP_11 {
            Ok(Authority::try_from(local.to_string()).expect("a socket address is an authority"))
        } else {
            Err(OriginError::Missing)
        };
    };
    if fields.next().is_some() {
        return Err(OriginError::Several);
    }
    let authority = Authority::try_from(field.as_bytes())
        .map_err(|_invalid| OriginError::Malformed(String::from_utf8_lossy(field.as_bytes()).into_owned()))?;
    checked(authority)
}

/// A host with an optional port and nothing else: no user, no empty or oversized port.
fn checked(authority: Authority) -> Result<Authority, OriginError> {
    let text = authority.as_str();
    let host = authority.host();
    let port_follows = text.strip_prefix(host).is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
    });
    if host.is_empty() || !port_follows {
        return Err(OriginError::Malformed(text.to_owned()));
    }
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, target: &str, hosts: &[&str], tls: bool) -> Result<String, OriginError> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().expect("a field value"));
        }
        let uri = target.parse().expect("a request target");
        let local = SocketAddr::from(([127, 0, 0, 1], 8080));
        absolute(&Method::GET, &uri, &headers, version, local, tls).map(|uri| uri.to_string())
    }

    #[test]
    fn the_origin_is_the_one_the_client_used() {
        let v11 = Version::HTTP_11;
        assert_eq!(check(v11, "/a?b=c", &["x.test:81"], false).as_deref(), Ok("http://x.test:81/a?b=c"));
        assert_eq!(check(v11, "/", &["[::1]:81"], true).as_deref(), Ok("https://[::1]:81/"));
        assert_eq!(check(v11, "http://y.test/z", &["x.test"], true).as_deref(), Ok("https://y.test/z"));
        assert_eq!(check(v11, "*", &["x.test"], false).as_deref(), Ok("http://x.test/"));
        assert_eq!(check(Version::HTTP_10, "/a", &[], false).as_deref(), Ok("http://127.0.0.1:8080/a"));
        assert_eq!(check(Version::HTTP_2, "https://y.test/z", &[], true).as_deref(), Ok("https://y.test/z"));
    }

    #[test]
    fn a_host_is_a_host_and_a_port() {
        let v11 = Version::HTTP_11;
        assert_eq!(check(v11, "/", &[], false), Err(OriginError::Missing));
        assert_eq!(check(v11, "/", &["a", "b"], false), Err(OriginError::Several));
        for host in ["", "a b", "user@a", "a:", "a:99999", "a:1:2", "a/b", "[::1"] {
            assert!(
                matches!(check(v11, "/", &[host], false), Err(OriginError::Malformed(_))),
                "`{host}` must be refused"
            );
        }
    }
}
