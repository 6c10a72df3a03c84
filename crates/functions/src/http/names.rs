//! The names of headers in trigger metadata, as the Azure Functions host writes them: names that its server knows have their usual
//! capitals. Other names are in lower case, because hyper does not preserve the case of the client. Pure.

/// Known names without the regular capitals at the start and after each hyphen.
const IRREGULAR: [(&str, &str); 9] = [
    ("content-md5", "Content-MD5"),
    ("dnt", "DNT"),
    ("etag", "ETag"),
    ("te", "TE"),
    ("traceparent", "traceparent"),
    ("tracestate", "tracestate"),
    ("baggage", "baggage"),
    ("request-id", "Request-Id"),
    ("www-authenticate", "WWW-Authenticate"),
];

/// Known names in lower case, sorted.
const REGULAR: [&str; 41] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "correlation-context",
    "date",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-modified",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
];

/// The name in trigger metadata; `lower` is in lower case.
pub(super) fn written(lower: &str) -> String {
    if let Some((_, written)) = IRREGULAR.iter().find(|(known, _)| *known == lower) {
        return (*written).to_owned();
    }
    if REGULAR.binary_search(&lower).is_err() {
        return lower.to_owned();
    }
    let mut written = String::with_capacity(lower.len());
    let mut is_first = true;
    for letter in lower.chars() {
        written.push(if is_first { letter.to_ascii_uppercase() } else { letter });
        is_first = letter == '-';
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_header_names_have_their_usual_capitals() {
        assert!(REGULAR.is_sorted(), "a binary search needs it");
        for (lower, expected) in [
            ("content-type", "Content-Type"),
            ("te", "TE"),
            ("traceparent", "traceparent"),
            ("user-agent", "User-Agent"),
            ("x-own", "x-own"),
        ] {
            assert_eq!(written(lower), expected);
        }
    }
}
