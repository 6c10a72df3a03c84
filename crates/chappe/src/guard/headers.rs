//! The headers by which a platform identifies a caller or states the caller's address, and who may send them. Pure.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use identity::{is_identity_header, is_spelling_of};

use crate::config::{GuardSection, Network, Secret};

/// The header in which a trusted proxy sends its secret. It is removed before a service receives the request.
const SECRET: &str = "x-chappe-proxy-secret";

/// The addresses that a request came through, the client's first. Apps use the first one as the client's.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who may identify callers.
#[derive(Debug)]
pub(super) struct TrustedProxies {
    networks: Vec<Network>,
    secret: Option<Secret>,
}

impl TrustedProxies {
    pub(super) fn new(section: &GuardSection) -> Self {
        Self { networks: section.trusted_proxies.clone(), secret: section.trusted_proxy_secret.clone() }
    }

    /// Removes headers that the sender may not send. From a trusted proxy only other spellings of a header are removed, because a
    /// runtime that normalizes names would let them replace it. From other senders `X-Forwarded-For` is replaced by the address of
    /// the connection.
    pub(super) fn strip(&self, peer: Option<IpAddr>, headers: &mut HeaderMap) {
        if !headers.keys().any(|name| concerns_us(name.as_str())) {
            return;
        }
        let trusted = self.trusts(peer, headers);
        let removed: Vec<HeaderName> = headers
            .keys()
            .filter(|name| {
                let name = name.as_str();
                let plain = !name.bytes().any(|byte| byte != b'-' && !byte.is_ascii_alphanumeric());
                is_spelling_of(name, SECRET) || (needs_trust(name) && !(trusted && plain))
            })
            .cloned()
            .collect();
        let forwards = removed.iter().any(|name| is_forwarded_for(name.as_str()));
        for name in removed {
            headers.remove(name);
        }
        if let Some(peer) = peer
            && forwards
            && !trusted
        {
            let address = HeaderValue::try_from(peer.to_canonical().to_string());
            headers.insert(FORWARDED_FOR, address.expect("an address is visible ASCII"));
        }
    }

    fn trusts(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
        if self.networks.is_empty() && self.secret.is_none() {
            return false;
        }
        let by_address = self.networks.is_empty()
            || peer.is_some_and(|peer| self.networks.iter().any(|network| network.contains(peer)));
        let by_secret = self.secret.as_ref().is_none_or(|secret| {
            let mut shown = headers.get_all(SECRET).iter().map(HeaderValue::as_bytes);
            let first = shown.next();
            first.is_some_and(|first| is_equal(first, secret.expose().as_bytes())) && shown.next().is_none()
        });
        by_address && by_secret
    }
}

fn concerns_us(name: &str) -> bool {
    needs_trust(name) || is_spelling_of(name, SECRET)
}

fn needs_trust(name: &str) -> bool {
    is_identity_header(name) || is_forwarded_for(name)
}

fn is_forwarded_for(name: &str) -> bool {
    is_spelling_of(name, FORWARDED_FOR.as_str())
}

/// Compares digests, so that the duration does not reveal how much of the secret was right.
fn is_equal(shown: &[u8], secret: &[u8]) -> bool {
    let digest = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    digest(shown).as_ref() == digest(secret).as_ref()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VOUCHING: [&str; 7] = [
        "x-ms-client-principal",
        "x-ms-client-principal-id",
        "x-ms-client-principal-name",
        "x-ms-client-principal-idp",
        "x-ms-token-aad-access-token",
        "x-arr-clientcert",
        "x-arr-ssl",
    ];
    const GOOD_SECRET: &str = "a secret that is long enough";

    fn proxies(networks: &[&str], secret: Option<&str>) -> TrustedProxies {
        let network = |text: &&str| Network::try_from((*text).to_owned()).expect("a network");
        TrustedProxies {
            networks: networks.iter().map(network).collect(),
            secret: secret.map(|secret| Secret::try_from(secret.to_owned()).expect("a secret")),
        }
    }

    /// The remaining headers, by name.
    fn left(proxies: &TrustedProxies, peer: &str, sent: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        proxies.strip(Some(peer.parse().expect("an address")), &mut headers);
        let mut names: Vec<String> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        names
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_trusted_header_is_removed(
            which in prop::sample::select(&VOUCHING[..]),
            marks in prop::collection::vec(prop::sample::select(&b"-_.!#$%&'*+^`|~"[..]), 8),
            upper in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut marks = marks.into_iter().cycle();
            let spelling: Vec<u8> = which
                .bytes()
                .zip(upper.into_iter().cycle())
                .map(|(byte, upper)| match byte {
                    b'-' => marks.next().expect("a cycle has no end"),
                    letter if upper => letter.to_ascii_uppercase(),
                    letter => letter,
                })
                .collect();
            let spelling = String::from_utf8(spelling).expect("it is ASCII");
            let found = left(&proxies(&[], None), "192.0.2.1", &[(&spelling, "root"), ("accept", "*/*")]);
            prop_assert_eq!(&found, &["accept"]);
            // A trusted proxy sends the plain spelling; no other spelling is accepted beside it.
            let trusted = proxies(&["192.0.2.0/24"], None);
            let found = left(&trusted, "192.0.2.1", &[(&spelling, "root"), (which, "ada")]);
            prop_assert_eq!(&found, &[which]);
        }

        #[test]
        fn other_headers_are_unchanged(name in "[a-w][a-z0-9_.-]{0,30}") {
            prop_assert_eq!(left(&proxies(&[], None), "192.0.2.1", &[(&name, "x")]), [name]);
        }
    }

    #[test]
    fn x_forwarded_for_is_the_peer_unless_a_trusted_proxy_sent_it() {
        let sent = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "203.0.113.10")];
        let found = |proxies: &TrustedProxies, peer: &str, sent: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                headers.append(name, HeaderValue::from_str(value).expect("a value"));
            }
            proxies.strip(Some(peer.parse().expect("an address")), &mut headers);
            let values =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")));
            values.collect::<Vec<_>>()
        };
        let nobody = proxies(&[], None);
        assert_eq!(found(&nobody, "192.0.2.1", &sent), ["x-forwarded-for: 192.0.2.1"]);
        assert_eq!(found(&nobody, "::ffff:192.0.2.1", &sent[..1]), ["x-forwarded-for: 192.0.2.1"]);
        let folded = [("X_Forwarded.For", "203.0.113.9")];
        assert_eq!(found(&nobody, "192.0.2.1", &folded), ["x-forwarded-for: 192.0.2.1"]);
        assert!(found(&nobody, "192.0.2.1", &[]).is_empty(), "a header that nobody sent is not made up");
        let trusted = proxies(&["192.0.2.0/24"], None);
        let kept = ["x-forwarded-for: 203.0.113.9", "x-forwarded-for: 203.0.113.10"];
        assert_eq!(found(&trusted, "192.0.2.1", &sent), kept);
        assert_eq!(found(&trusted, "192.0.2.1", &[sent[0], folded[0]]), kept[..1], "the other spelling goes");
        assert_eq!(found(&trusted, "198.51.100.1", &sent), ["x-forwarded-for: 198.51.100.1"]);
    }

    #[test]
    fn a_proxy_is_trusted_by_its_address_its_secret_or_both() {
        let sent = [("x-ms-client-principal-id", "ada")];
        let with = |secret: &'static str| [sent[0], (SECRET, secret)];
        let stays = |proxies: &TrustedProxies, peer: &str, sent: &[(&str, &str)]| {
            let names = left(proxies, peer, sent);
            assert!(!names.contains(&SECRET.to_owned()), "no service sees the secret");
            names == ["x-ms-client-principal-id"]
        };
        let by_address = proxies(&["10.0.0.0/8"], None);
        assert!(stays(&by_address, "10.1.2.3", &sent) && !stays(&by_address, "192.0.2.1", &sent));
        let by_secret = proxies(&[], Some(GOOD_SECRET));
        assert!(stays(&by_secret, "192.0.2.1", &with(GOOD_SECRET)));
        assert!(!stays(&by_secret, "192.0.2.1", &with("another that is long enough")));
        assert!(!stays(&by_secret, "192.0.2.1", &sent));
        let twice = [sent[0], (SECRET, GOOD_SECRET), (SECRET, "x")];
        assert!(!stays(&by_secret, "192.0.2.1", &twice), "two secrets are none");
        let by_both = proxies(&["10.0.0.0/8"], Some(GOOD_SECRET));
        assert!(stays(&by_both, "10.1.2.3", &with(GOOD_SECRET)));
        assert!(!stays(&by_both, "192.0.2.1", &with(GOOD_SECRET)) && !stays(&by_both, "10.1.2.3", &sent));
        assert!(!stays(&proxies(&[], None), "127.0.0.1", &sent), "nobody is trusted unless configured");
    }
}
