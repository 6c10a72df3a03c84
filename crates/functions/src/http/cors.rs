//! Cross-origin requests (the Fetch standard's CORS protocol): which origins may call the app from a browser. Pure.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

/// Which origins may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CorsPolicy {
    origins: Vec<String>,
    is_any: bool,
    credentials: bool,
}

impl CorsPolicy {
    /// A policy from origins such as `https://example.org`, or `*`. No origins: no CORS at all.
    pub(crate) fn new(origins: &[String], credentials: bool) -> Self {
        let is_any = origins.iter().any(|origin| origin == "*");
        let origins =
            origins.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect();
        // Browsers refuse credentials together with `*`; the specification forbids to answer so.
        Self { origins, is_any, credentials: credentials && !is_any }
    }

    /// The headers of the answer to a preflight request from an allowed origin. A preflight from elsewhere is an ordinary
    /// OPTIONS request.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<HeaderMap> {
        let origin = headers.get(ORIGIN)?;
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if method != Method::OPTIONS || !self.allows(origin) {
            return None;
        }
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, wanted.clone());
        if let Some(names) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        Some(answer)
    }

    /// Adds what lets the origin read the response. What a function set itself is replaced: two values would be refused.
    pub(crate) fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        if !self.allows(origin) {
            return;
        }
        if self.is_any {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return;
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        self.is_any || self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}
