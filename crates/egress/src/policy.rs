//! [`AddressPolicy`]: which addresses a client may reach. Pure.
//!
//! It checks the address that a name resolved to, never the name: whoever controls a name controls its addresses, so a check before
//! a second resolution would be useless. The connector therefore connects to exactly the address that was checked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which addresses may be reached. `deny` goes first, then `allow`, then `base`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddressPolicy {
    /// What holds for addresses that no list names. Default `allow-all`.
    pub base: Base,
    /// Networks that may be reached in any case, unless `deny` names them too. Default none.
    pub allow: Vec<Cidr>,
    /// Networks that may never be reached. Default none.
    pub deny: Vec<Cidr>,
}

/// What holds for addresses that no list names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// They may be reached.
    #[default]
    AllowAll,
    /// They may be reached if they are on the public Internet: not this host, its links, private networks, or reserved.
    PublicOnly,
    /// They may not be reached.
    DenyAll,
}

/// A network: an address and the number of leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    network: IpAddr,
    prefix_bits: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network; write for example 10.0.0.0/8, fd00::/8 or 192.0.2.7")]
pub struct CidrError(String);

impl From<Cidr> for String {
    fn from(network: Cidr) -> Self {
        network.to_string()
    }
}

impl AddressPolicy {
    /// Every address may be reached.
    pub fn allow_all() -> Self {
        Self::default()
    }

    /// Only addresses on the public Internet may be reached.
    pub fn public_only() -> Self {
        Self { base: Base::PublicOnly, ..Self::default() }
    }

    /// Whether `address` may be reached. An IPv6 address with an embedded IPv4 address is checked as the IPv4 address.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = carried(address);
        let within = |networks: &[Cidr]| networks.iter().any(|network| network.contains(address));
        if within(&self.deny) {
            return false;
        }
        within(&self.allow)
            || match self.base {
                Base::AllowAll => true,
                Base::PublicOnly => is_public(address),
                Base::DenyAll => false,
            }
    }

    /// Whether every address may be reached, so that none has to be resolved.
    pub(crate) fn permits_all(&self) -> bool {
        self.base == Base::AllowAll && self.deny.is_empty()
    }
}

impl Cidr {
    /// Whether the network contains `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let malformed = || CidrError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_malformed| malformed())?;
        let bits = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(prefix) => prefix.parse().map_err(|_malformed| malformed())?,
            None => bits,
        };
        if prefix_bits > bits {
            return Err(malformed());
        }
        Ok(Self { network, prefix_bits })
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix_bits)
    }
}

/// The IPv4 address embedded in an IPv6 one, if its form means that packets are sent to the IPv4 address: mapped (RFC 4291 section
/// 2.5.5.2), compatible (section 2.5.5.1, without `::` and `::1`), translated (64:ff9b::/96, RFC 6052) and 6to4 (2002::/16, RFC
/// 3056).
fn carried(address: IpAddr) -> IpAddr {
    let IpAddr::V6(ipv6) = address else { return address };
    let bits = ipv6.to_bits();
    let low = Ipv4Addr::from_bits((bits & u128::from(u32::MAX)) as u32);
    match bits >> 32 {
        0xffff | 0x0064_ff9b_0000_0000_0000_0000 => low.into(),
        0 if bits > 1 => low.into(),
        _ if bits >> 112 == 0x2002 => {
            Ipv4Addr::from_bits(((bits >> 80) & u128::from(u32::MAX)) as u32).into()
        }
        _ => address,
    }
}

/// The networks of IPv4 that are not the public Internet, from the IANA registry of special-purpose addresses.
const SPECIAL_IPV4: [([u8; 4], u8); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    // Looks public, but is the platform agent on every Azure machine.
    ([168, 63, 129, 16], 32),
];

/// The networks within 2000::/3 that are not the public Internet: protocol assignments (Teredo among them), documentation.
const SPECIAL_IPV6: [([u16; 8], u8); 3] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// The part of IPv6 that is allocated to the public Internet (RFC 4291 section 2.4); all other addresses are special.
const GLOBAL_IPV6: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

fn is_public(address: IpAddr) -> bool {
    let within_v4 = |(network, prefix_bits): &([u8; 4], u8)| {
        Cidr { network: Ipv4Addr::from(*network).into(), prefix_bits: *prefix_bits }.contains(address)
    };
    let within_v6 = |(network, prefix_bits): &([u16; 8], u8)| {
        Cidr { network: Ipv6Addr::from(*network).into(), prefix_bits: *prefix_bits }.contains(address)
    };
    match address {
        IpAddr::V4(_) => !SPECIAL_IPV4.iter().any(within_v4),
        IpAddr::V6(_) => within_v6(&GLOBAL_IPV6) && !SPECIAL_IPV6.iter().any(within_v6),
    }
}

#[cfg(test)]
mod tests;
