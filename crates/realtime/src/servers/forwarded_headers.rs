//! [`ForwardedHeaders`]: the headers of a client's connect request that its app server gets; hubs read them as
//! `HttpContext.Request.Headers`. Pure.

use std::collections::HashSet;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::CONNECTION;
use signalr_protocol::service::ClientHeaders;

/// Headers that are not forwarded: the client's secret for this service, and headers for the connection between the client and this service
/// (RFC 9110, 7.6.1; RFC 9113, 8.2.2; RFC 6455, 4.1).
const WITHHELD: [&str; 14] = [
    "authorization",
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Prefixes of headers that only this service may set: `Asrs-Migrate-From` and others for app servers, `X-ASRS-User-Id` and others for
/// upstreams.
const OWN_PREFIXES: [&str; 2] = ["asrs-", "x-asrs-"];

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The forwarded headers of one client's request: a line `name:value` for each value, names in lower case. One allocation,
/// because every client of an app server has it for as long as it is connected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForwardedHeaders(Box<str>);

/// The limits on forwarded headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderLimits {
    pub(crate) values_max: usize,
    /// Names and values together.
    pub(crate) bytes_max: usize,
}

/// A client's request has more headers than the limits allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooManyHeaders {
    #[error("the request has more than {0} headers for the app server (servers.client_headers_max)")]
    Values(usize),
    #[error(
        "the request has more than {0} bytes of headers for the app server (servers.client_header_bytes_max)"
    )]
    Bytes(usize),
}

impl ForwardedHeaders {
    /// Selects the headers to forward. If no proxy has set the client's address, it is `peer`, the remote address of the connection. Values
    /// that are not UTF-8 are skipped, because the service protocol cannot carry them.
    ///
    /// # Errors
    ///
    /// If the headers exceed the limits.
    pub(crate) fn new(
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        limits: HeaderLimits,
    ) -> Result<Self, TooManyHeaders> {
        let hop_by_hop = named_by_connection(headers);
        let (mut lines, mut values, mut bytes) = (String::new(), 0, 0);
        let mut push = |name: &str, value: &str| {
            values += 1;
            bytes += name.len() + value.len();
            if values > limits.values_max {
                return Err(TooManyHeaders::Values(limits.values_max));
            }
            if bytes > limits.bytes_max {
                return Err(TooManyHeaders::Bytes(limits.bytes_max));
            }
            lines.extend([name, ":", value, "\n"]);
            Ok(())
        };
        let mut is_forwarded = false;
        for name in headers.keys().map(http::HeaderName::as_str) {
            if is_withheld(name) || hop_by_hop.contains(name) {
                continue;
            }
            let texts = headers.get_all(name).iter().map(|value| std::str::from_utf8(value.as_bytes()));
            for value in texts.filter_map(Result::ok) {
                is_forwarded |= name == FORWARDED_FOR;
                push(name, value)?;
            }
        }
        if let (false, Some(peer)) = (is_forwarded, peer) {
            push(FORWARDED_FOR, &peer.to_string())?;
        }
        Ok(Self(lines.into()))
    }

    /// The headers as a service message has them: each name once, with all its values.
    pub(crate) fn list(&self) -> ClientHeaders<'_> {
        let mut all: ClientHeaders<'_> = Vec::new();
        for (name, value) in self.0.split('\n').filter_map(|line| line.split_once(':')) {
            match all.last_mut() {
                Some((last, values)) if *last == name => values.push(value),
                _ => all.push((name, vec![value])),
            }
        }
        all
    }
}

/// The names in the `connection` header: headers for this connection only.
fn named_by_connection(headers: &HeaderMap) -> HashSet<String> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

fn is_withheld(name: &str) -> bool {
    WITHHELD.binary_search(&name).is_ok()
        || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || identity::is_identity_header(name)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const LIMITS: HeaderLimits = HeaderLimits { values_max: 10, bytes_max: 200 };

    fn headers(list: &[(&str, &[u8])]) -> HeaderMap {
        let entry = |(name, value): &(&str, &[u8])| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap())
        };
        list.iter().map(entry).collect()
    }

    /// The headers in the form `name: value, value`, sorted.
    fn forwarded(list: &[(&str, &[u8])], peer: Option<&str>) -> Vec<String> {
        let peer = peer.map(|peer| peer.parse().unwrap());
        let forwarded_headers = ForwardedHeaders::new(&headers(list), peer, LIMITS).unwrap();
        let mut forwarded: Vec<String> = forwarded_headers
            .list()
            .iter()
            .map(|(name, values)| format!("{name}: {}", values.join(", ")))
            .collect();
        forwarded.sort();
        forwarded
    }

    #[test]
    fn headers_are_forwarded_except_secrets_hop_by_hop_and_identity_headers() {
        let request: [(&str, &[u8]); 18] = [
            ("Authorization", b"Bearer x"),
            ("Connection", b"Upgrade, X-Mine"),
            ("Connection", b"x-also-mine"),
            ("Upgrade", b"websocket"),
            ("Sec-WebSocket-Key", b"k"),
            ("Proxy-Authorization", b"Basic x"),
            ("Transfer-Encoding", b"chunked"),
            ("TE", b"trailers"),
            ("X-Mine", b"1"),
            ("X-Also-Mine", b"1"),
            ("X_MS_Client.Principal-Id", b"root"),
            ("X-ARR-ClientCert", b"x"),
            ("Asrs-Migrate-From", b"other"),
            ("X-ASRS-User-Id", b"root"),
            ("X-Tenant", b"a:b"),
            ("X-Tenant", "Z\u{fc}rich".as_bytes()),
            ("X-Latin-1", b"Z\xfcrich"),
            ("Cookie", b""),
        ];
        assert_eq!(forwarded(&request, None), ["cookie: ", "x-tenant: a:b, Z\u{fc}rich"]);
        assert!(WITHHELD.is_sorted());
    }

    #[test]
    fn the_remote_address_is_forwarded_unless_a_proxy_set_another() {
        assert_eq!(forwarded(&[], Some("::1")), ["x-forwarded-for: ::1"]);
        let header: (&str, &[u8]) = ("X-Forwarded-For", b"192.0.2.7");
        assert_eq!(forwarded(&[header], Some("10.0.0.1")), ["x-forwarded-for: 192.0.2.7"]);
        let withheld = [header, ("Connection", b"X-Forwarded-For")];
        assert_eq!(forwarded(&withheld, Some("10.0.0.1")), ["x-forwarded-for: 10.0.0.1"]);
    }

    #[test]
    fn headers_beyond_the_limits_are_rejected() {
        let values = |count| {
            let list = vec![("x", &b"1"[..]); count];
            ForwardedHeaders::new(&headers(&list), None, LIMITS)
                .map(|forwarded_headers| forwarded_headers.list()[0].1.len())
        };
        assert_eq!(values(10), Ok(10));
        assert_eq!(values(11), Err(TooManyHeaders::Values(10)));
        let bytes = |count| {
            let value = vec![b'1'; count];
            ForwardedHeaders::new(&headers(&[("x", &value)]), None, LIMITS)
                .map(|forwarded_headers| forwarded_headers.list()[0].1[0].len())
        };
        assert_eq!(bytes(199), Ok(199));
        assert_eq!(bytes(200), Err(TooManyHeaders::Bytes(200)));
    }
}
