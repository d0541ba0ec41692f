//! Addresses replaced by others that share prefixes exactly as the real ones do: who knows the key gets the same pseudonyms
//! again, who does not learns from them only which addresses were neighbours.
//!
//! Crypto-PAn (Xu, Fan, Ammar & Moon, "Prefix-Preserving IP Address Anonymization: Measurement-Based Security Evaluation and a
//! New Cryptography-Based Scheme", ICNP 2002): bit i of the pseudonym is bit i of the address, turned if the first bit of the
//! AES-128 encryption of the address's first i bits, padded, is set. IPv6 likewise over 128 bits.
//!
//! What this hides is limited: who sees traffic of a known address in the log can tell its pseudonym, and by it parts of its
//! neighbours'.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use sha2::{Digest, Sha256};

/// Bytes of a key: half for the cipher, half for the padding.
const KEY_BYTES: usize = 32;

/// Replaces addresses by pseudonyms under one key.
#[derive(Clone)]
pub struct Pseudonyms {
    cipher: Aes128,
    padding: u128,
    key: [u8; KEY_BYTES],
}

impl fmt::Debug for Pseudonyms {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[error(
    "{file}: {why}\n  a key is 64 hexadecimal digits; make one with `openssl rand -hex 32 > {file}` and keep it secret"
)]
pub struct KeyError {
    file: String,
    why: String,
}

impl Pseudonyms {
    /// Pseudonyms under `key`.
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        let (cipher_key, pad) = key.split_at(KEY_BYTES / 2);
        let mut half = [0; KEY_BYTES / 2];
        half.copy_from_slice(cipher_key);
        let cipher = Aes128::new(&half.into());
        half.copy_from_slice(pad);
        let mut all = Self { cipher, padding: 0, key };
        all.padding = all.encrypted(u128::from_be_bytes(half));
        all
    }

    /// Pseudonyms under the key in a file.
    ///
    /// # Errors
    /// If the file cannot be read, or does not hold 64 hexadecimal digits.
    pub fn from_file(file: &Path) -> Result<Self, KeyError> {
        let error = |why: String| KeyError { file: file.display().to_string(), why };
        let text =
            std::fs::read_to_string(file).map_err(|why| error(format!("cannot read the key: {why}")))?;
        text.trim().parse().map_err(error)
    }

    fn encrypted(&self, block: u128) -> u128 {
        let mut bytes = block.to_be_bytes().into();
        self.cipher.encrypt_block(&mut bytes);
        u128::from_be_bytes(bytes.into())
    }

    /// The bits to turn in an address of `width` bits, which stand at the top of `bits`.
    fn turned(&self, bits: u128, width: u32) -> u128 {
        (0..width).fold(0, |turned, at| {
            let rest = u128::MAX.checked_shr(at).unwrap_or(0);
            let input = (bits & !rest) | (self.padding & rest);
            turned | (self.encrypted(input) >> 127) << (127 - at)
        })
    }

    /// The pseudonym of an address, of its own family.
    pub fn address(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let bits = u128::from(address.to_bits()) << 96;
                Ipv4Addr::from_bits(address.to_bits() ^ (self.turned(bits, 32) >> 96) as u32).into()
            }
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() ^ self.turned(address.to_bits(), 128)).into()
            }
        }
    }

    /// The pseudonym of a host name or a user: `x` and sixteen digits.
    pub fn name(&self, name: &[u8]) -> String {
        let digest = Sha256::new().chain_update(self.key).chain_update(name).finalize();
        digest[..8].iter().fold("x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }
}

impl FromStr for Pseudonyms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut key = [0; KEY_BYTES];
        if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("not {} hexadecimal digits", 2 * KEY_BYTES));
        }
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|error| error.to_string())?;
        }
        Ok(Self::new(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The key of the sample in the authors' distribution, and addresses of its trace with their pseudonyms.
    const KEY: [u8; 32] = [
        21, 34, 23, 141, 51, 164, 207, 128, 19, 10, 91, 22, 73, 144, 125, 16, 216, 152, 143, 131, 121, 121,
        101, 39, 98, 87, 76, 45, 42, 132, 34, 2,
    ];

    #[test]
    fn pseudonyms_are_those_of_the_authors_sample() {
        let pseudonyms = Pseudonyms::new(KEY);
        for (address, pseudonym) in [
            ("128.11.68.132", "135.242.180.132"),
            ("129.118.74.4", "134.136.186.123"),
            ("130.132.252.244", "133.68.164.234"),
            ("141.223.7.43", "141.167.8.160"),
            ("152.163.225.39", "151.140.114.167"),
            ("192.102.249.13", "252.138.62.131"),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(pseudonyms.address(address).to_string(), pseudonym);
        }
    }

    #[test]
    fn a_key_is_sixty_four_digits() {
        let digits: String = KEY.iter().map(|byte| format!("{byte:02X}")).collect();
        let read: Pseudonyms = digits.parse().expect("a key");
        assert_eq!(read.address([10, 0, 0, 1].into()), Pseudonyms::new(KEY).address([10, 0, 0, 1].into()));
        for wrong in ["", "00", &digits.replace('1', "g"), &format!("{}é", &digits[2..])] {
            assert!(wrong.parse::<Pseudonyms>().is_err(), "{wrong}");
        }
        let error = Pseudonyms::from_file(Path::new("missing.key")).expect_err("no file").to_string();
        assert!(error.contains("openssl rand -hex 32 > missing.key"), "{error}");
        assert_eq!(read.name(b"a.example").len(), 17);
        assert!(!format!("{read:?}").contains("15"), "the key is not printed");
    }

    proptest! {
        #[test]
        fn shared_prefixes_are_as_long_as_before(a: u128, b: u128, shared in 0_u32..=128) {
            let pseudonyms = Pseudonyms::new(KEY);
            let keep = u128::MAX.checked_shr(shared).unwrap_or(0);
            let b = (a & !keep) | (b & keep);
            let bits = |address: u128| match pseudonyms.address(Ipv6Addr::from_bits(address).into()) {
                IpAddr::V6(address) => address.to_bits(),
                IpAddr::V4(_) => 0,
            };
            prop_assert_eq!((bits(a) ^ bits(b)).leading_zeros(), (a ^ b).leading_zeros());
            let [a, b] = [a, b].map(|bits| Ipv4Addr::from_bits((bits >> 96) as u32));
            let v4 = |address: Ipv4Addr| match pseudonyms.address(address.into()) {
                IpAddr::V4(address) => address.to_bits(),
                IpAddr::V6(_) => 0,
            };
            prop_assert_eq!((v4(a) ^ v4(b)).leading_zeros(), (a.to_bits() ^ b.to_bits()).leading_zeros());
        }
    }
}
