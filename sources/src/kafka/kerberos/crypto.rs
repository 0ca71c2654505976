//! Kerberos' keys and what is done with them: AES with SHA-1 (RFC 3962, on the profile of RFC 3961) and with SHA-2 (RFC 8009). The
//! primitives are those of aws-lc. It never shows a key, and knows no older way: DES and RC4 are broken.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{
    AES_128, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac, pbkdf2, rand};

use super::keytab::Etype;

/// Whoever asks for many more, and nobody has proved to be the KDC by then, wants to keep us busy. AES with SHA-2 has 32,768.
const MAX_ITERATIONS: u32 = 100_000;
const BLOCK: usize = 16;

/// What a key is used for (RFC 4120 section 7.5.1, RFC 4121 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    Timestamp = 1,
    #[cfg(test)]
    Ticket = 2,
    AsReply = 3,
    TgsChecksum = 6,
    TgsAuthenticator = 7,
    TgsReply = 8,
    ApAuthenticator = 11,
    ApReply = 12,
    AcceptorSeal = 22,
    InitiatorSeal = 24,
}

/// Which of the keys that are derived for a usage.
#[derive(Clone, Copy)]
enum Derived {
    Checksum = 0x99,
    Encryption = 0xaa,
    Integrity = 0x55,
}

/// A key. It has no `Debug`.
#[derive(Clone)]
pub(super) struct Key {
    etype: Etype,
    bytes: Vec<u8>,
}

impl Etype {
    const fn cipher(self) -> &'static Algorithm {
        match self {
            Self::Aes128Sha1 | Self::Aes128Sha2 => &AES_128,
            Self::Aes256Sha1 | Self::Aes256Sha2 => &AES_256,
        }
    }

    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Aes128Sha1 | Self::Aes256Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Aes128Sha2 => hmac::HMAC_SHA256,
            Self::Aes256Sha2 => hmac::HMAC_SHA384,
        }
    }

    /// How many bytes of a hash are sent.
    pub(super) const fn hash_len(self) -> usize {
        match self {
            Self::Aes128Sha1 | Self::Aes256Sha1 => 12,
            Self::Aes128Sha2 => 16,
            Self::Aes256Sha2 => 24,
        }
    }

    /// The number of the checksum that belongs to it.
    pub(super) const fn checksum_type(self) -> i32 {
        match self {
            Self::Aes128Sha1 => 15,
            Self::Aes256Sha1 => 16,
            Self::Aes128Sha2 => 19,
            Self::Aes256Sha2 => 20,
        }
    }

    /// What a salt is preceded by, where the passwords of several kinds must not be one key.
    const fn salt_prefix(self) -> &'static [u8] {
        match self {
            Self::Aes128Sha1 | Self::Aes256Sha1 => b"",
            Self::Aes128Sha2 => b"aes128-cts-hmac-sha256-128\0",
            Self::Aes256Sha2 => b"aes256-cts-hmac-sha384-192\0",
        }
    }
}

impl Key {
    /// A key of these bytes, if they are as many as it has.
    pub(super) fn new(etype: Etype, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == etype.key_len()).then(|| Self { etype, bytes: bytes.to_vec() })
    }

    pub(super) fn random(etype: Etype) -> Result<Self, Unspecified> {
        let mut bytes = vec![0; etype.key_len()];
        rand::fill(&mut bytes)?;
        Ok(Self { etype, bytes })
    }

    /// The key of a password; `parameters` are those of the KDC (`s2kparams`), which say how often it is stirred.
    pub(super) fn of_password(
        etype: Etype,
        password: &[u8],
        salt: &[u8],
        parameters: Option<&[u8]>,
    ) -> Result<Self, Unspecified> {
        let (algorithm, usual) = match etype {
            Etype::Aes128Sha1 | Etype::Aes256Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, 4096),
            Etype::Aes128Sha2 => (pbkdf2::PBKDF2_HMAC_SHA256, 32_768),
            Etype::Aes256Sha2 => (pbkdf2::PBKDF2_HMAC_SHA384, 32_768),
        };
        let iterations = match parameters {
            Some(parameters) => u32::from_be_bytes(parameters.try_into().map_err(|_| Unspecified)?),
            None => usual,
        };
        let iterations = NonZeroU32::new(iterations).filter(|n| n.get() <= MAX_ITERATIONS).ok_or(Unspecified)?;
        let mut bytes = vec![0; etype.key_len()];
        pbkdf2::derive(algorithm, iterations, &[etype.salt_prefix(), salt].concat(), password, &mut bytes);
        let bytes = Self { etype, bytes }.derive(b"kerberos", etype.key_len())?;
        Ok(Self { etype, bytes })
    }

    pub(super) const fn etype(&self) -> Etype {
        self.etype
    }

    /// The bytes themselves, to be sent encrypted with another key.
    pub(super) fn expose(&self) -> &[u8] {
        &self.bytes
    }

    fn derive(&self, constant: &[u8], length: usize) -> Result<Vec<u8>, Unspecified> {
        let mut bytes = match self.etype {
            Etype::Aes128Sha1 | Etype::Aes256Sha1 => {
                let cipher = EncryptingKey::ecb(self.unbound(&self.bytes)?)?;
                let first = &mut n_fold(constant);
                cipher.less_safe_encrypt(first, EncryptionContext::None)?;
                let second = &mut first.to_owned();
                cipher.less_safe_encrypt(second, EncryptionContext::None)?;
                [*first, *second].concat()
            }
            Etype::Aes128Sha2 | Etype::Aes256Sha2 => {
                let bits = u32::try_from(8 * length).map_err(|_| Unspecified)?;
                let key = hmac::Key::new(self.etype.hmac(), &self.bytes);
                let asked = [&1_u32.to_be_bytes()[..], constant, &[0], &bits.to_be_bytes()].concat();
                hmac::sign(&key, &asked).as_ref().to_vec()
            }
        };
        bytes.truncate(length);
        Ok(bytes)
    }

    fn derived(&self, usage: Usage, which: Derived) -> Result<Vec<u8>, Unspecified> {
        let [a, b, c, d] = (usage as u32).to_be_bytes();
        let length = match (self.etype, which) {
            (Etype::Aes128Sha2 | Etype::Aes256Sha2, Derived::Checksum | Derived::Integrity) => self.etype.hash_len(),
            _ => self.etype.key_len(),
        };
        self.derive(&[a, b, c, d, which as u8], length)
    }

    fn unbound(&self, bytes: &[u8]) -> Result<UnboundCipherKey, Unspecified> {
        UnboundCipherKey::new(self.etype.cipher(), bytes)
    }

    fn hash(&self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let hash = hmac::sign(&hmac::Key::new(self.etype.hmac(), key), data);
        hash.as_ref().iter().copied().take(self.etype.hash_len()).collect()
    }

    /// The checksum of `data`.
    pub(super) fn checksum(&self, usage: Usage, data: &[u8]) -> Result<Vec<u8>, Unspecified> {
        Ok(self.hash(&self.derived(usage, Derived::Checksum)?, data))
    }

    /// Whether `checksum` is that of `data`.
    pub(super) fn verify(&self, usage: Usage, data: &[u8], checksum: &[u8]) -> Result<(), Unspecified> {
        constant_time::verify_slices_are_equal(&self.checksum(usage, data)?, checksum)
    }

    /// Encrypts and authenticates `plain`.
    pub(super) fn encrypt(&self, usage: Usage, plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut confounder = [0; BLOCK];
        rand::fill(&mut confounder)?;
        self.encrypt_with(usage, confounder, plain)
    }

    fn encrypt_with(&self, usage: Usage, confounder: [u8; BLOCK], plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let confounded = [&confounder, plain].concat();
        let mut sealed = self.encrypt_cts(&self.derived(usage, Derived::Encryption)?, &confounded)?;
        let integrity = self.derived(usage, Derived::Integrity)?;
        let hash = self.hash(&integrity, &self.hashed(&confounded, &sealed));
        sealed.extend(hash);
        Ok(sealed)
    }

    /// What was encrypted, if it is authentic.
    pub(super) fn decrypt(&self, usage: Usage, sealed: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let length = sealed.len().checked_sub(self.etype.hash_len()).filter(|n| *n >= BLOCK).ok_or(Unspecified)?;
        let (sealed, hash) = sealed.split_at(length);
        let mut plain = self.decrypt_cts(&self.derived(usage, Derived::Encryption)?, sealed)?;
        let integrity = self.derived(usage, Derived::Integrity)?;
        constant_time::verify_slices_are_equal(&self.hash(&integrity, &self.hashed(&plain, sealed)), hash)?;
        plain.drain(..BLOCK);
        Ok(plain)
    }

    /// What the hash is of: with SHA-1 what is encrypted, with SHA-2 the initial vector and what came of it.
    fn hashed(&self, confounded: &[u8], sealed: &[u8]) -> Vec<u8> {
        match self.etype {
            Etype::Aes128Sha1 | Etype::Aes256Sha1 => confounded.to_vec(),
            Etype::Aes128Sha2 | Etype::Aes256Sha2 => [&[0; BLOCK], sealed].concat(),
        }
    }

    /// CBC with ciphertext stealing, the last two blocks exchanged (CBC-CS3), of at least one block.
    fn encrypt_cts(&self, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut blocks = plain.to_vec();
        blocks.resize(plain.len().next_multiple_of(BLOCK), 0);
        let zero = EncryptionContext::Iv128(FixedLength::from([0; BLOCK]));
        EncryptingKey::cbc(self.unbound(key)?)?.less_safe_encrypt(&mut blocks, zero)?;
        if let Some(start) = blocks.len().checked_sub(2 * BLOCK) {
            blocks[start..].rotate_left(BLOCK);
        }
        blocks.truncate(plain.len());
        Ok(blocks)
    }

    fn decrypt_cts(&self, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut blocks = sealed.to_vec();
        let whole = sealed.len().next_multiple_of(BLOCK);
        if let Some(start) = whole.checked_sub(2 * BLOCK) {
            // The block before the last lacks what was cut off, which is in the last one, encrypted with zeros.
            let mut last: [u8; BLOCK] = sealed[start..start + BLOCK].try_into().map_err(|_| Unspecified)?;
            DecryptingKey::ecb(self.unbound(key)?)?.decrypt(&mut last, DecryptionContext::None)?;
            blocks.extend(&last[BLOCK - (whole - sealed.len())..]);
            blocks[start..].rotate_left(BLOCK);
        }
        let zero = DecryptionContext::Iv128(FixedLength::from([0; BLOCK]));
        DecryptingKey::cbc(self.unbound(key)?)?.decrypt(&mut blocks, zero)?;
        blocks.truncate(sealed.len());
        Ok(blocks)
    }
}

/// A constant stretched or folded to one block (RFC 3961 section 5.1): copies of it, each rotated by 13 bits more than the one
/// before, are added up with end-around carry.
fn n_fold(constant: &[u8]) -> [u8; BLOCK] {
    let bits = 8 * constant.len();
    let bit = |place: usize| {
        let from = (place % bits + bits - 13 * (place / bits) % bits) % bits;
        u128::from(constant[from / 8] >> (7 - from % 8) & 1)
    };
    let mut sum = 0_u128;
    // As few as fill whole blocks.
    let copies = BLOCK / gcd(constant.len(), BLOCK);
    for block in 0..copies * bits / 128 {
        let value = (0..128).fold(0, |value, at| value << 1 | bit(128 * block + at));
        let (added, carried) = sum.overflowing_add(value);
        sum = added + u128::from(carried);
    }
    sum.to_be_bytes()
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
#[path = "crypto_tests.rs"]
mod tests;
