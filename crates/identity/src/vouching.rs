//! Names of the headers by which a platform (App Service, or a proxy before it) vouches for a caller: an app trusts them, because
//! the platform removes what callers send under these names and sets them itself. Pure, and only about names.

/// Beginnings of such names: who logged in, and the tokens of that login.
const PREFIXES: [&str; 2] = ["x-ms-client-principal", "x-ms-token-"];

/// Further ones: the client's certificate, and what TLS the front end saw.
const NAMES: [&str; 2] = ["x-arr-clientcert", "x-arr-ssl"];

/// Whether a runtime that reads `-`, `_`, `.` and other marks alike, and letters of either case, could read the name of a header as
/// one by which the platform vouches for a caller.
#[must_use]
pub fn vouches_for_caller(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| begins(name, prefix))
        || NAMES.iter().any(|known| is_header_spelling(name, known))
}

/// Whether such a runtime could read `name` as the header `known`, which is in lower case with hyphens.
#[must_use]
pub fn is_header_spelling(name: &str, known: &str) -> bool {
    name.len() == known.len() && begins(name, known)
}

fn begins(name: &str, prefix: &str) -> bool {
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
    fn vouching_headers_are_known_in_any_spelling_and_others_are_not() {
        for name in [
            "x-ms-client-principal",
            "X_MS.Client-Principal-Id",
            "x-ms-token-aad-access-token",
            "x-arr-clientcert",
            "x_arr_ssl",
        ] {
            assert!(vouches_for_caller(name), "{name}");
        }
        for name in
            ["", "x-ms-client-requestid", "x-ms-client", "x-arr-ssl-more", "authorization", "x-ms-token"]
        {
            assert!(!vouches_for_caller(name), "{name}");
        }
    }
}
