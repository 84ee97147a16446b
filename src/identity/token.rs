//! The join token: what a person copies from one machine to another to make it a host.
//!
//! bech32m (BIP 350) with the prefix `mst`, longer than that paper's 90 characters; its checksum is
//! there to name a typing error, not to authenticate. The token's secret key signs what the joiner
//! brings (proof of possession), the fleet id is the joiner's trust anchor: what it is told by whoever
//! answers must chain to that id.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};

use super::{FleetId, SecretKey, Token};
use crate::time::Timestamp;

/// Most addresses in a token.
pub const TOKEN_ADDRESSES_MAX: usize = 3;
const PREFIX: &str = "mst";
const VERSION: u8 = 1;
/// Longest text that is looked at, in characters.
const TEXT_CHARS_MAX: usize = 512;

/// Why a text is no token. Nothing was contacted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Does not start with `mst1`.
    #[error("a join token starts with mst1")]
    NotAToken,
    /// The checksum is wrong: cut short, or a character changed.
    #[error("the token is damaged or cut: its checksum does not match")]
    Damaged,
    /// Made by a newer muster.
    #[error("the token is of version {0}, from a newer muster")]
    Newer(u8),
    /// Whole, but not a token's content.
    #[error("the token's content is malformed")]
    Malformed,
}

/// The content of a token.
#[derive(Clone)]
pub struct JoinToken {
    /// The fleet to join; all that the joiner trusts.
    pub fleet: FleetId,
    /// The pre-shared key of the fleet's transport.
    pub shield: [u8; 32],
    /// The key that signs what the joiner brings.
    pub key: SecretKey<Token>,
    /// When it stops working, in whole seconds.
    pub expires: Timestamp,
    /// Where members listen, at most [`TOKEN_ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken")
            .field("fleet", &self.fleet)
            .field("expires", &self.expires)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl JoinToken {
    /// The text to copy.
    pub fn to_text(&self) -> String {
        let mut data = vec![VERSION];
        data.extend_from_slice(&self.fleet.0);
        data.extend_from_slice(&self.shield);
        data.extend_from_slice(&*self.key.seed());
        let seconds = u32::try_from(self.expires.0 / 1000).unwrap_or(u32::MAX);
        data.extend_from_slice(&seconds.to_be_bytes());
        for address in self.addresses.iter().take(TOKEN_ADDRESSES_MAX) {
            match address.ip() {
                IpAddr::V4(ip) => {
                    data.push(4);
                    data.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    data.push(6);
                    data.extend_from_slice(&ip.octets());
                }
            }
            data.extend_from_slice(&address.port().to_be_bytes());
        }
        // The data is far below the code's length, so this cannot fail.
        Hrp::parse(PREFIX)
            .ok()
            .and_then(|prefix| bech32::encode::<Bech32m>(prefix, &data).ok())
            .unwrap_or_default()
    }

    /// Reads a token; white space around it is ignored.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn from_text(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let head = text.get(..4).unwrap_or_default();
        if !head.eq_ignore_ascii_case("mst1") {
            return Err(TokenError::NotAToken);
        }
        if text.len() > TEXT_CHARS_MAX {
            return Err(TokenError::Damaged);
        }
        let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| TokenError::Damaged)?;
        let data: Vec<u8> = checked.byte_iter().collect();
        let mut rest = data.as_slice();
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return Err(TokenError::Newer(version));
        }
        let fleet = FleetId(take(&mut rest)?);
        let shield = take(&mut rest)?;
        let key = SecretKey::from_seed(&take(&mut rest)?);
        let expires = Timestamp(u64::from(u32::from_be_bytes(take(&mut rest)?)) * 1000);
        let mut addresses = Vec::new();
        while !rest.is_empty() {
            let [family] = take(&mut rest)?;
            let ip = match family {
                4 => IpAddr::V4(Ipv4Addr::from(take::<4>(&mut rest)?)),
                6 => IpAddr::V6(Ipv6Addr::from(take::<16>(&mut rest)?)),
                _ => return Err(TokenError::Malformed),
            };
            addresses.push(SocketAddr::new(ip, u16::from_be_bytes(take(&mut rest)?)));
        }
        if addresses.is_empty() || addresses.len() > TOKEN_ADDRESSES_MAX {
            return Err(TokenError::Malformed);
        }
        Ok(Self { fleet, shield, key, expires, addresses })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TokenError> {
    let (first, after) = rest.split_first_chunk::<N>().ok_or(TokenError::Malformed)?;
    *rest = after;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            fleet: FleetId([9; 32]),
            shield: [8; 32],
            key: SecretKey::from_seed(&[7; 32]),
            expires: Timestamp(1_800_000_000_000),
            addresses: vec!["10.0.0.1:7946".parse().unwrap(), "[fe80::1]:80".parse().unwrap()],
        }
    }

    #[test]
    fn a_token_survives_the_clipboard() {
        let text = token().to_text();
        assert!(text.starts_with("mst1"), "{text}");
        for copied in [text.clone(), format!("  {text}\n"), text.to_uppercase()] {
            let read = JoinToken::from_text(&copied).unwrap();
            assert_eq!((read.fleet, read.shield), (token().fleet, token().shield));
            assert_eq!(read.key.public(), token().key.public());
            assert_eq!((read.expires, read.addresses), (token().expires, token().addresses));
        }
    }

    #[test]
    fn a_cut_or_mistyped_token_is_called_damaged() {
        let text = token().to_text();
        for cut in 4..text.len() {
            assert_eq!(JoinToken::from_text(&text[..cut]).unwrap_err(), TokenError::Damaged, "cut at {cut}");
        }
        let mut typo = text.clone();
        let last = typo.pop().unwrap();
        typo.push(if last == 'q' { 'p' } else { 'q' });
        assert_eq!(JoinToken::from_text(&typo).unwrap_err(), TokenError::Damaged);
        assert_eq!(JoinToken::from_text("hello").unwrap_err(), TokenError::NotAToken);
        assert_eq!(JoinToken::from_text("").unwrap_err(), TokenError::NotAToken);
        assert_eq!(JoinToken::from_text("münster1").unwrap_err(), TokenError::NotAToken);
    }
}
