//! The heads of a proxied request and of its response. Pure.

use http::header::{CONNECTION, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_messages::Body;

/// The id by which the worker joins the request and the invocation.
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-ms-invocation-id");

/// Headers that workers trust and every client could forge, so that only the host sets them.
const FORWARDED: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
];

/// Headers that concern one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The head of a request for the worker.
#[derive(Debug)]
pub(super) struct ProxiedHead {
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
}

impl ProxiedHead {
    /// Whether sending the request twice does no more than sending it once (RFC 9110, section 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// The head for a request with address `url`, from `client` if known.
    pub(super) fn new(parts: &Parts, url: &Uri, client: Option<std::net::IpAddr>, id: &str) -> Self {
        let mut headers = parts.headers.clone();
        remove_hop_by_hop(&mut headers);
        headers.remove(EXPECT);
        for name in FORWARDED {
            headers.remove(name);
        }
        let mut set = |name: HeaderName, value: &str| {
            headers.remove(&name);
            // All values consist of characters that are valid in a header.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        let authority = url.authority().map_or("localhost", |authority| authority.as_str());
        set(HOST, authority);
        set(HeaderName::from_static("x-forwarded-host"), authority);
        set(HeaderName::from_static("x-forwarded-proto"), url.scheme_str().unwrap_or("http"));
        if let Some(client) = client {
            set(HeaderName::from_static("x-forwarded-for"), &client.to_string());
        }
        set(INVOCATION_ID, id);
        let path_and_query = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Self { method: parts.method.clone(), path_and_query, headers }
    }

    /// The request to the worker at `address`. `None` if address and path are not a valid URI.
    pub(super) fn request(&self, address: &Uri, body: Body) -> Option<Request<Body>> {
        let authority = address.authority()?;
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = format!("http://{authority}{}", self.path_and_query).parse().ok()?;
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}

/// Removes the headers that concern one connection only.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method("PUT").uri("http://app.test:7071/api/x?y=%20");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn forwarded_headers_of_a_client_are_replaced_by_those_of_the_host() {
        let parts = parts(&[
            ("host", "other.test"),
            ("x-ms-invocation-id", "of the caller"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "192.0.2.2"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=192.0.2.3"),
            ("x-own", "kept"),
            ("cookie", "a=b"),
        ]);
        let url = "http://app.test:7071/api/x?y=%20".parse().expect("an address");
        let head = ProxiedHead::new(&parts, &url, "127.0.0.1".parse().ok(), "id-1");
        let body = http_messages::full(bytes::Bytes::new());
        let request =
            head.request(&"http://localhost:5/".parse().expect("an address"), body).expect("a request");
        assert_eq!(request.uri(), "http://localhost:5/api/x?y=%20");
        let mut seen: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        seen.sort();
        assert_eq!(
            seen,
            [
                "cookie: a=b",
                "host: app.test:7071",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: app.test:7071",
                "x-forwarded-proto: http",
                "x-ms-invocation-id: id-1",
                "x-own: kept"
            ]
        );
    }

    #[test]
    fn hop_by_hop_headers_are_removed() {
        let mut headers = parts(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("content-length", "3"),
        ])
        .headers;
        remove_hop_by_hop(&mut headers);
        let seen: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        assert!(headers.contains_key("content-length"));
    }
}
