//! The request headers in which a platform (App Service authentication, or a proxy) passes the caller's identity to an app. The app
//! trusts them, because the platform removes headers of these names from callers' requests and sets its own. Only names, no
//! values.

/// Prefixes: the authenticated user, and the user's tokens.
const PREFIXES: [&str; 2] = ["x-ms-client-principal", "x-ms-token-"];

/// The client certificate, and the front end's TLS.
const NAMES: [&str; 2] = ["x-arr-clientcert", "x-arr-ssl"];

/// Whether a header can be read as one with the caller's identity, by a runtime that treats `-`, `_`, `.` and other punctuation
/// alike and ignores case.
#[must_use]
pub fn is_identity_header(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| starts_with(name, prefix))
        || NAMES.iter().any(|known| is_spelling_of(name, known))
}

/// Whether such a runtime can read `name` as the header `known`, which is in lower case with hyphens.
#[must_use]
pub fn is_spelling_of(name: &str, known: &str) -> bool {
    name.len() == known.len() && starts_with(name, known)
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(|(byte, known)| folded(byte) == known)
}

/// A letter in lower case, a digit, or a hyphen for everything else.
fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_headers_are_recognized_in_any_spelling() {
        for name in [
            "x-ms-client-principal",
            "X_MS.Client-Principal-Id",
            "x-ms-token-aad-access-token",
            "x-arr-clientcert",
            "x_arr_ssl",
        ] {
            assert!(is_identity_header(name), "{name}");
        }
        for name in
            ["", "x-ms-client-requestid", "x-ms-client", "x-arr-ssl-more", "authorization", "x-ms-token"]
        {
            assert!(!is_identity_header(name), "{name}");
        }
    }
}
