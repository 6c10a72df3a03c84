//! Addresses that other programs are to use, checked before anything starts: one that is none would be handed out all the same.

use std::net::IpAddr;

use http::Uri;
use serde::de::{Deserialize, Deserializer, Error};

/// An `http` or `https` address with a host.
pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if is_web_address(&text) { Ok(Some(text)) } else { Err(D::Error::custom(complaint(&text))) }
}

/// The same, or an empty text, which switches off what a variable names.
pub(super) fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let fits = text.is_empty() || is_web_address(&text);
    if fits { Ok(Some(text)) } else { Err(D::Error::custom(complaint(&text))) }
}

/// The same for a flag.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    if is_web_address(text) { Ok(text.to_owned()) } else { Err(complaint(text)) }
}

/// Whether an address leads to this machine for every client. One that cannot be read does not.
pub(super) fn is_loopback(text: &str) -> bool {
    let Ok(address) = text.parse::<Uri>() else { return false };
    let host = address.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || ip.is_ok_and(|address| address.to_canonical().is_loopback())
}

fn is_web_address(text: &str) -> bool {
    let Ok(address) = text.parse::<Uri>() else { return false };
    matches!(address.scheme_str(), Some("http" | "https"))
        && address.host().is_some_and(|host| !host.is_empty())
}

fn complaint(text: &str) -> String {
    format!(
        "{text:?} is not a web address; write it with its scheme and host, such as https://live.example.org"
    )
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, is_web_address};

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for text in [
            "http://localhost:8080",
            "https://LOCALHOST./",
            "http://app.localhost",
            "http://127.0.0.2:1/x",
            "http://[::1]:8080",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(is_loopback(text), "{text}");
        }
        for text in [
            "https://live.example.org",
            "http://localhost.example.org",
            "http://notlocalhost",
            "http://192.168.1.2:8080",
            "http://0.0.0.0",
            "http://[fe80::1]",
            "localhost:8080/x",
            "",
        ] {
            assert!(!is_loopback(text), "{text}");
        }
    }

    #[test]
    fn an_address_has_scheme_and_host() {
        for text in ["http://localhost:4318", "https://live.example.org/", "https://[::1]:8080"] {
            assert!(is_web_address(text), "{text}");
        }
        for text in ["", "nonsense", "live.example.org:443", "ftp://x/", "https://", "https:///path", "/x"] {
            assert!(!is_web_address(text), "{text}");
        }
    }
}
