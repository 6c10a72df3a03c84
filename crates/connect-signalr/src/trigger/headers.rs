//! The headers of a request in the upstream protocol. Pure.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode_str;

/// The headers of one request.
pub(super) struct UpstreamHeaders<'a>(pub(super) &'a HeaderMap);

impl UpstreamHeaders<'_> {
    /// The value of `X-ASRS-<name>`, empty if it is absent.
    pub(super) fn text(&self, name: &str) -> String {
        let value = self.raw(&format!("x-asrs-{name}"));
        // Our service escapes what a header cannot carry; others send text as it is.
        if value.contains('%') && self.is_ours() {
            return decoded(&value);
        }
        value.into_owned()
    }

    /// The value of a header as it is, empty if it is absent.
    pub(super) fn raw(&self, name: &str) -> Cow<'_, str> {
        self.0.get(name).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default()
    }

    /// Whether the request comes from a realtime service of this product.
    fn is_ours(&self) -> bool {
        self.0.contains_key("x-chappe-hub-protocol")
    }

    /// All headers for the function, by their usual names; several values are joined by commas. UpstreamHeaders of the body are not among
    /// them, as in the extension, and neither is a key of the host.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let is_shown = |name: &str| !name.starts_with("content-") && name != "x-functions-key";
        let names = self.0.keys().filter(|name| is_shown(name.as_str()));
        let all = names.map(|name| {
            let values: Vec<_> =
                self.0.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            (usual_name(name.as_str()), values.join(","))
        });
        all.collect()
    }
}

/// The media type of the body, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Each `%` with two hexadecimal digits is one character; see `docs/upstreams.md`.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// `X-ASRS-Hub` for `x-asrs-hub`: HTTP libraries keep no case, and functions look for the documented one.
fn usual_name(lower: &str) -> String {
    let Some(rest) = lower.strip_prefix("x-asrs-") else { return lower.to_owned() };
    let words = rest.split('-').map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
    });
    format!("X-ASRS-{}", words.collect::<Vec<_>>().join("-"))
}
