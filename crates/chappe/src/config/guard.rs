//! Who is trusted beyond what keys prove: names of this process, and proxies in front of it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// By which names the process may be called, and which proxy may say who a caller is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GuardSection {
    /// Host names by which browsers and apps may call this process, beside `localhost`, addresses, the names that containers have
    /// for their host, and the host of `public_url`. In development mode (only this machine can connect) other names are refused;
    /// otherwise only where this list is not empty. Without scheme and port, such as `dev.example.test`. For names of this machine: a
    /// name by which other machines come through a proxy belongs into `public_url`, which ends development mode. Reloads.
    /// Default: none. Since 0.1.0.
    pub(crate) hosts: Vec<HostName>,
    /// Addresses or networks of proxies that may send `x-ms-client-principal*`, `x-ms-token-*`, `x-arr-clientcert`, `x-arr-ssl` and
    /// `x-forwarded-for`, such as `["10.0.0.0/8", "::1"]`. From everybody else these headers are removed, and `x-forwarded-for` becomes
    /// the address that the request came from. Reloads. Default: none. Since 0.1.0.
    pub(crate) trusted_proxies: Vec<Network>,
    /// A secret of at least 16 characters that such a proxy sends in the header `x-chappe-proxy-secret`. Alone, it is enough; with
    /// `trusted_proxies`, both must hold. A secret. Reloads. Default: none.
    /// Since 0.1.0.
    pub(crate) trusted_proxy_secret: Option<Secret>,
}

/// The name of a host, in lower case, without a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct HostName(String);

/// The addresses that share their first bits; one address is a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A secret of sufficient length. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Secret(String);

/// Why a value under `[guard]` cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidGuard {
    #[error("{0:?} is not a host name; write it without scheme, port and path, such as dev.example.test")]
    Host(String),
    #[error("{0:?} is neither an address nor a network; write 192.0.2.7, 10.0.0.0/8 or fd00::/8")]
    Network(String),
    #[error(
        "a secret of {length} characters can be guessed; use at least {} random ones",
        Secret::LENGTH_MIN
    )]
    Secret { length: usize },
}

impl HostName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HostName {
    type Error = InvalidGuard;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(InvalidGuard::Host(text));
        }
        Ok(Self(name))
    }
}

impl Network {
    /// Whether the network holds the address. An IPv4 address that arrived on an IPv6 socket counts as the former.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let ((own, own_length), (other, other_length)) = (bits(self.address), bits(address.to_canonical()));
        let differing = own ^ other;
        own_length == other_length && differing.leading_zeros() >= u32::from(self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidGuard;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let invalid = || InvalidGuard::Network(text.clone());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.as_str(), None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| invalid())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => {
                prefix.trim().parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(invalid)?
            }
            None => longest,
        };
        Ok(Self { address, prefix })
    }
}

impl Secret {
    const LENGTH_MIN: usize = 16;

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Secret {
    type Error = InvalidGuard;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let length = text.chars().count();
        if length < Self::LENGTH_MIN { Err(InvalidGuard::Secret { length }) } else { Ok(Self(text)) }
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        format!("{}/{}", network.address, network.prefix)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::try_from(text.to_owned()).expect("a network")
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        let holds = |text: &str, address: &str| network(text).contains(address.parse().expect("an address"));
        assert!(holds("10.0.0.0/8", "10.200.3.4") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("192.0.2.7", "::ffff:192.0.2.7"), "as it looks on a socket for both families");
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::/8", "fe00::1"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(!holds("::/0", "203.0.113.9"), "the families are apart");
    }

    #[test]
    fn an_invalid_network_host_name_or_secret_is_rejected() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::1/129", "proxy.example", "10.0.0.0/-1"] {
            assert!(Network::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in ["", "http://x.test", "x.test:80", "x.test/", "a b", "."] {
            assert!(HostName::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert_eq!(HostName::try_from("Dev.Example.".to_owned()).expect("a name").as_str(), "dev.example");
        let short = Secret::try_from("short".to_owned());
        assert_eq!(short, Err(InvalidGuard::Secret { length: 5 }));
    }
}
