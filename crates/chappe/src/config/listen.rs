//! Where a service listens.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

/// An address to listen on, or none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Listen {
    /// The service takes no connections of its own; the gateway and the process itself still reach it.
    Off,
    /// Listen on this address.
    On {
        /// `localhost` (both loopback addresses), or an IP address.
        host: String,
        /// The port; 0 takes any free one.
        port: u16,
        /// Whether it is the default: only then may the service use another port if this one is in use.
        is_default: bool,
    },
}

/// Why a text is not an address to listen on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address to listen on; write localhost:8080, 0.0.0.0:8080, [::]:8080 or off")]
pub(crate) struct InvalidListen(String);

impl Listen {
    /// A configured port of localhost.
    #[cfg(test)]
    pub(crate) fn localhost(port: u16) -> Self {
        Self::On { host: "localhost".to_owned(), port, is_default: false }
    }

    /// A default port of localhost.
    pub(crate) fn default_port(port: u16) -> Self {
        Self::On { host: "localhost".to_owned(), port, is_default: true }
    }

    /// Whether it is the default.
    pub(crate) fn is_default(&self) -> bool {
        matches!(self, Self::On { is_default: true, .. })
    }

    /// Whether only this machine can connect.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Off => true,
            Self::On { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidListen(text.to_owned());
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host != "localhost" && host.parse::<IpAddr>().is_err() {
            return Err(invalid());
        }
        Ok(Self::On { host: host.to_owned(), port, is_default: false })
    }
}

impl TryFrom<String> for Listen {
    type Error = InvalidListen;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::On { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_listen_address_is_parsed_back() {
        for text in ["localhost:8080", "0.0.0.0:80", "[::1]:8081", "off", "127.0.0.1:0"] {
            assert_eq!(text.parse::<Listen>().map(|listen| listen.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "8080", "example.org:80", "localhost:99999", "localhost"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_loopback_is_private() {
        let loopback = |text: &str| text.parse::<Listen>().expect("an address").is_loopback();
        assert!(loopback("localhost:1") && loopback("127.0.0.2:1") && loopback("[::1]:1") && loopback("off"));
        assert!(!loopback("0.0.0.0:1") && !loopback("[::]:1") && !loopback("192.168.1.2:1"));
    }
}
