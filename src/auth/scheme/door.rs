//! Senders that sign nothing: what they have to bring instead. All that is configured has to hold.

use std::net::IpAddr;

use super::algorithm::{Found, KeyProblem, KeyText, Ring, Token};
use super::{Head, Scheme};
use crate::auth::{KeyId, Proof, RawBody, SignatureRefusal, Strength, Verified};
use crate::time::Timestamp;

/// 128 bits in base64url.
pub const MIN_PATH_TOKEN_CHARS: usize = 22;
/// The platform's own lists of addresses of a sender are a few dozen.
pub const MAX_NETWORKS: usize = 64;

/// A range of addresses, such as `203.0.113.0/24` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    bits: u32,
    is_v4: bool,
}

impl Network {
    /// Reads an address, or a range of them. Bits beyond the range have to be zero, as in what an address was meant to be.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                (address, Some(bits.parse::<u32>().ok()?))
            }
            Some(_) => return None,
            None => (text, None),
        };
        let (address, is_v4) = number(address.parse().ok()?);
        let width = if is_v4 { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        let network = Self {
            address,
            bits: width.checked_sub(bits)?,
            is_v4,
        };
        (network.masked(address) == address).then_some(network)
    }

    fn masked(&self, address: u128) -> u128 {
        let kept = u128::MAX.checked_shl(self.bits).unwrap_or(0);
        address & kept
    }

    /// Whether the address is one of them.
    pub fn holds(&self, address: IpAddr) -> bool {
        let (address, is_v4) = number(address);
        is_v4 == self.is_v4 && self.masked(address) == self.address
    }
}

/// An IPv4 address in the form of an IPv6 one is an IPv4 address.
fn number(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u32::from(address).into(), true),
        IpAddr::V6(address) => (address.into(), false),
    }
}

/// What a sender has to bring that signs nothing.
#[derive(Clone, Debug)]
pub struct Door {
    paths: Option<Ring<Token>>,
    /// A static header, or Basic.
    header: Option<Box<Scheme>>,
    networks: Vec<Network>,
}

impl Door {
    /// `None` if nothing at all were asked. The problems are those of the path tokens at these places.
    pub fn new(
        paths: &[KeyText<'_>],
        header: Option<Scheme>,
        networks: Vec<Network>,
    ) -> Result<Option<Self>, Vec<(usize, KeyProblem)>> {
        let paths = match paths {
            [] => None,
            paths => Some(Ring::of(paths, Token::new)?),
        };
        let any = paths.is_some() || header.is_some() || !networks.is_empty();
        Ok(any.then(|| Self {
            paths,
            header: header.map(Box::new),
            networks,
        }))
    }

    /// Whether the path, behind the source's name, is one of ours: without its token there is no such source.
    pub fn admits(&self, path: Option<&str>, now: Timestamp) -> bool {
        self.path_key(path, now).is_ok()
    }

    fn path_key(&self, path: Option<&str>, now: Timestamp) -> Result<Option<KeyId>, ()> {
        let Some(paths) = &self.paths else {
            return Ok(None);
        };
        let token = path.and_then(|path| path.split('/').next());
        let token = token.unwrap_or_default().as_bytes();
        match paths.find(now, |key| key.is(token)) {
            Found::Key(id) => Ok(Some(id)),
            Found::Nothing | Found::NoUsableKey => Err(()),
        }
    }

    /// Whether the address is one of the sender's.
    pub fn allows(&self, address: Option<&str>) -> bool {
        let address = address.and_then(|text| text.parse().ok());
        let holds = |address| self.networks.iter().any(|network| network.holds(address));
        self.networks.is_empty() || address.is_some_and(holds)
    }

    /// What the path says of the event: its last segment.
    pub fn webhook<'p>(&self, path: Option<&'p str>) -> Option<&'p str> {
        let mut segments = path?.split('/');
        if self.paths.is_some() {
            segments.next();
        }
        segments.next().filter(|webhook| !webhook.is_empty())
    }

    /// How its header is checked, if it has one.
    #[cfg(feature = "js")]
    pub(crate) fn scheme(&self) -> Option<&Scheme> {
        self.header.as_deref()
    }

    /// Whether its path holds a token.
    #[cfg(feature = "js")]
    pub(crate) fn has_path_tokens(&self) -> bool {
        self.paths.is_some()
    }

    /// The header that it reads.
    pub fn header(&self) -> Option<&str> {
        self.header
            .as_ref()
            .and_then(|scheme| scheme.signature_header())
    }

    /// Whether any key may be tried at `now`.
    pub fn any_usable(&self, now: Timestamp) -> bool {
        let header = self.header.as_ref();
        let paths = self.paths.as_ref();
        header.is_none_or(|scheme| scheme.any_usable(now))
            && paths.is_none_or(|paths| paths.usable(now).next().is_some())
    }

    /// Checks a request.
    pub fn authenticate<'a>(
        &self,
        head: Head<'_>,
        body: RawBody<'a>,
        now: Timestamp,
    ) -> Result<Verified<'a>, SignatureRefusal> {
        let path_key = self.path_key(head.path, now);
        let path_key = path_key.map_err(|()| SignatureRefusal::Mismatch)?;
        if !self.allows(head.address) {
            return Err(SignatureRefusal::AddressNotAllowed);
        }
        if let Some(scheme) = &self.header {
            return scheme.authenticate(head, body, now);
        }
        let (key, strength) = match path_key {
            Some(key) => (key, Strength::Token),
            None => (KeyId::new("address"), Strength::None),
        };
        Ok(Verified::new(body, Proof::of(key, strength)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        let network = Network::parse(network).unwrap();
        network.holds(address.parse().unwrap())
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        assert!(holds("203.0.113.0/24", "203.0.113.0"));
        assert!(holds("203.0.113.0/24", "203.0.113.255"));
        assert!(!holds("203.0.113.0/24", "203.0.114.0"));
        assert!(holds("203.0.113.7", "203.0.113.7"));
        assert!(!holds("203.0.113.7", "203.0.113.8"));
        assert!(holds("203.0.113.0/24", "::ffff:203.0.113.9"));
        assert!(holds("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "::1") && !holds("::/0", "8.8.8.8"));
        assert!(holds("2001:db8::1/128", "2001:db8::1"));
    }

    #[test]
    fn what_isnt_a_range_is_none() {
        for text in [
            "",
            "203.0.113",
            "203.0.113.0/33",
            "203.0.113.1/24",
            "2001:db8::1/32",
            "::/129",
            "10.0.0.0/+8",
            "203.0.113.0/",
            "example.org",
            "203.0.113.0/24/8",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
