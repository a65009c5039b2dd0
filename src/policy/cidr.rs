//! Networks as a NetworkPolicy names them, and those that none may open.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Networks that no egress rule opens: link-local addresses, where clouds answer questions about a node's own credentials,
/// and the other addresses of the same services.
pub const NEVER: [Cidr; 5] = [
    Cidr { address: IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), length: 16 },
    Cidr { address: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), length: 10 },
    Cidr { address: IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), length: 128 },
    Cidr { address: IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), length: 128 },
    Cidr { address: IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), length: 32 },
];

/// A network: its address has no bit set beyond its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    length: u32,
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no network: an address without bits beyond its length, such as 10.20.0.0/16 or 2001:db8::/32")]
pub struct NoCidr;

impl Cidr {
    /// One address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        // A v4 address in its v6 form would never be met by a packet.
        let address = address.to_canonical();
        Self { address, length: width(address) }
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        let same_family = self.address.is_ipv4() == other.address.is_ipv4();
        same_family && self.length <= other.length && masked(other.address, self.length) == bits(self.address)
    }

    /// What a rule for this network must except: those of `excepted` that lie in it. None when one of them covers it, so
    /// that nothing would be left.
    #[must_use]
    pub fn excepting(self, excepted: &[Self]) -> Option<Vec<Self>> {
        if excepted.iter().any(|other| other.contains(self)) {
            return None;
        }
        Some(excepted.iter().copied().filter(|other| self.contains(*other)).collect())
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The first `length` bits of an address.
fn masked(address: IpAddr, length: u32) -> u128 {
    let low = width(address).saturating_sub(length);
    bits(address).checked_shr(low).and_then(|high| high.checked_shl(low)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = NoCidr;

    fn from_str(text: &str) -> Result<Self, NoCidr> {
        let (address, length) = text.split_once('/').ok_or(NoCidr)?;
        let address: IpAddr = address.parse().map_err(|_| NoCidr)?;
        let plain = length.len() <= 3
            && length.bytes().all(|b| b.is_ascii_digit())
            && (length == "0" || !length.starts_with('0'));
        let length: u32 = length.parse().map_err(|_| NoCidr)?;
        // A v4 address in v6 form is one network to people and another to what enforces it.
        if !plain
            || length > width(address)
            || masked(address, length) != bits(address)
            || address.to_canonical() != address
        {
            return Err(NoCidr);
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn networks_are_read_and_shown() {
        for text in
            ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "2001:db8::/32", "::1/128", "128.0.0.0/1"]
        {
            assert_eq!(cidr(text).to_string(), text);
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "2001:db8::1/32",
            "host/8",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "::ffff:10.0.0.1/128",
            "010.0.0.0/8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(NoCidr), "{text}");
        }
    }

    #[test]
    fn what_lies_in_a_network_is_excepted_and_what_covers_it_refuses_it() {
        let shown = |text: &str, excepted: &[Cidr]| {
            cidr(text)
                .excepting(excepted)
                .map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let some = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(shown("0.0.0.0/0", &NEVER), some(&["169.254.0.0/16", "100.100.100.200/32"]));
        assert_eq!(shown("::/0", &NEVER), some(&["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"]));
        assert_eq!(shown("10.0.0.0/8", &NEVER), some(&[]));
        assert_eq!(shown("169.254.169.254/32", &NEVER), None);
        assert_eq!(shown("169.254.0.0/16", &NEVER), None);
        assert_eq!(shown("169.254.20.10/32", &NEVER), None);
        assert_eq!(shown("168.0.0.0/7", &NEVER), some(&["169.254.0.0/16"]));
        let server = [Cidr::of("10.0.0.1".parse().unwrap())];
        assert_eq!(shown("10.0.0.0/24", &server), some(&["10.0.0.1/32"]));
        assert_eq!(shown("10.0.0.1/32", &server), None);
        assert_eq!(Cidr::of("::ffff:10.0.0.1".parse().unwrap()), server[0]);
    }
}
