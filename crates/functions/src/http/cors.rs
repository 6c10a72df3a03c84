//! Cross-origin requests (the CORS protocol of the Fetch standard). Pure.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The allowed origins and what they may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CorsPolicy {
    origins: Vec<String>,
    is_any: bool,
    credentials: bool,
    /// Response headers that pages may read, joined by commas.
    exposed: Option<HeaderValue>,
}

impl CorsPolicy {
    /// A policy for origins such as `https://example.org`, or `*`. Without origins, CORS is off.
    pub(crate) fn new(origins: &[String], credentials: bool) -> Self {
        let is_any = origins.iter().any(|origin| origin == "*");
        let origins = origins.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect();
        // The standard does not permit credentials together with `*`.
        Self { origins, is_any, credentials: credentials && !is_any, exposed: None }
    }

    /// Lets pages read these response headers, in addition to those that the Fetch standard exposes. `None` if one of them is not a
    /// valid header name.
    pub(crate) fn exposing(mut self, headers: &[String]) -> Option<Self> {
        let names: Option<Vec<&str>> = headers
            .iter()
            .map(|name| (name == "*" || HeaderName::try_from(name).is_ok()).then_some(name.as_str()))
            .collect();
        let names = names?;
        if !names.is_empty() {
            self.exposed = Some(HeaderValue::try_from(names.join(",")).ok()?);
        }
        Some(self)
    }

    /// The response headers of a preflight request; empty for an origin that is not listed, so that the browser does not send the
    /// request. `None` if it is not a preflight request, or if no origin is listed: then it is an ordinary OPTIONS request.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<HeaderMap> {
        let origin = headers.get(ORIGIN)?;
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        if method != Method::OPTIONS || (!self.is_any && self.origins.is_empty()) {
            return None;
        }
        let mut allowed = HeaderMap::new();
        if !self.allows(origin) {
            return Some(allowed);
        }
        allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, wanted.clone());
        if let Some(names) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            allowed.insert(ACCESS_CONTROL_ALLOW_HEADERS, without_blanks(names));
        }
        Some(allowed)
    }

    /// Adds the headers that let the origin read the response. Values that a function set are replaced: browsers reject two values.
    pub(crate) fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        if !self.allows(origin) {
            return;
        }
        if let Some(exposed) = &self.exposed {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
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
        // Browsers send origins in one form, in lower case.
        let is_listed = |allowed: &String| allowed.as_bytes() == origin.as_bytes();
        self.is_any || self.origins.iter().any(is_listed)
    }
}

/// A list of names, separated by commas only.
fn without_blanks(names: &HeaderValue) -> HeaderValue {
    let bytes: Vec<u8> = names.as_bytes().iter().copied().filter(|byte| *byte != b' ').collect();
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| names.clone())
}
