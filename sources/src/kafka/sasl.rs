//! Proving a password: PLAIN, and SCRAM (RFC 5802, RFC 7677) with SHA-256 or SHA-512. It makes and judges tokens; it never sends
//! one, and never lets a password out in an error.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::login::{Mechanism, Password};

/// Kafka itself allows no more than 16,384: whoever asks for many more wants to keep us busy.
const MAX_ITERATIONS: u32 = 100_000;

/// The one token of PLAIN.
pub(super) fn plain(login: &Password) -> Vec<u8> {
    format!("\0{}\0{}", login.username, login.password.expose()).into_bytes()
}

/// A login by SCRAM under way.
pub(super) struct Scram<'a> {
    login: &'a Password,
    nonce: String,
}

/// What remains to be judged: the signature that only a server that knows the password can make.
pub(super) struct Signature(hmac::Tag);

struct Algorithms {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

impl Algorithms {
    fn of(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::ScramSha512 => {
                Self { digest: &digest::SHA512, hmac: hmac::HMAC_SHA512, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512 }
            }
            Mechanism::Plain | Mechanism::ScramSha256 => {
                Self { digest: &digest::SHA256, hmac: hmac::HMAC_SHA256, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256 }
            }
        }
    }
}

impl<'a> Scram<'a> {
    /// A login with a nonce of its own; `None` if the system has no randomness.
    pub(super) fn new(login: &'a Password) -> Option<Self> {
        let mut random = [0; 24];
        aws_lc_rs::rand::fill(&mut random).ok()?;
        Some(Self { login, nonce: STANDARD.encode(random) })
    }

    /// The first token.
    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare()).into_bytes()
    }

    fn bare(&self) -> String {
        let name = self.login.username.replace('=', "=3D").replace(',', "=2C");
        format!("n={name},r={}", self.nonce)
    }

    /// The second token, for the server's first; `None` if that is not one.
    pub(super) fn second(&self, server_first: &[u8]) -> Option<(Vec<u8>, Signature)> {
        let server_first = std::str::from_utf8(server_first).ok()?;
        let mut fields = server_first.split(',');
        let nonce = fields.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(fields.next()?.strip_prefix("s=")?).ok()?;
        let iterations: u32 = fields.next()?.strip_prefix("i=")?.parse().ok()?;
        let iterations = NonZeroU32::new(iterations).filter(|count| count.get() <= MAX_ITERATIONS)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return None;
        }
        let Algorithms { digest: hash, hmac: algorithm, pbkdf2: derivation } = Algorithms::of(self.login.mechanism);
        let mut salted = vec![0; hash.output_len];
        pbkdf2::derive(derivation, iterations, &salt, self.login.password.expose().as_bytes(), &mut salted);
        let salted = hmac::Key::new(algorithm, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let server_key = hmac::sign(&salted, b"Server Key");
        let stored_key = digest::digest(hash, client_key.as_ref());
        let without_proof = format!("c=biws,r={nonce}");
        let said = format!("{},{server_first},{without_proof}", self.bare());
        let signature = hmac::sign(&hmac::Key::new(algorithm, stored_key.as_ref()), said.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let expected = hmac::sign(&hmac::Key::new(algorithm, server_key.as_ref()), said.as_bytes());
        Some((format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes(), Signature(expected)))
    }
}

impl Signature {
    /// Whether the server's last token proves that it knows the password too.
    pub(super) fn is_proved_by(&self, server_final: &[u8]) -> bool {
        let given = std::str::from_utf8(server_final).ok().and_then(|text| text.split(',').next()?.strip_prefix("v="));
        let given = given.and_then(|given| STANDARD.decode(given).ok()).unwrap_or_default();
        constant_time::verify_slices_are_equal(&given, self.0.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn user(mechanism: Mechanism, username: &str) -> Password {
        Password { mechanism, username: username.to_owned(), password: Secret::new("pencil") }
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let sasl = user(Mechanism::ScramSha256, "user");
        let scram = Scram { login: &sasl, nonce: "rOprNGfwEbeRWgbNEkqO".to_owned() };
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server_first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (token, signature) = scram.second(server_first).expect("a good answer");
        let wanted = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(token).expect("text"), wanted);
        assert!(signature.is_proved_by(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        for forged in [&b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="[..], b"v=", b"", b"e=other-error", b"\xff"] {
            assert!(!signature.is_proved_by(forged), "{forged:?}");
        }
    }

    #[test]
    fn an_answer_that_is_not_one_is_refused() {
        let sasl = user(Mechanism::ScramSha512, "a=b,c");
        let scram = Scram { login: &sasl, nonce: "nonce".to_owned() };
        assert_eq!(scram.first(), b"n,,n=a=3Db=2Cc,r=nonce");
        assert!(scram.second(b"r=nonce1,s=AAAA,i=4096").is_some());
        for bad in [
            "",
            "r=nonce,s=AAAA,i=4096",
            "r=other,s=AAAA,i=4096",
            "r=nonce1,s=!,i=4096",
            "r=nonce1,s=AAAA,i=0",
            "r=nonce1,s=AAAA,i=4294967295",
            "r=nonce1,s=AAAA",
            "m=x,r=nonce1,s=AAAA,i=4096",
        ] {
            assert!(scram.second(bad.as_bytes()).is_none(), "{bad}");
        }
        assert_ne!(Scram::new(&sasl).expect("random").nonce, Scram::new(&sasl).expect("random").nonce);
    }

    #[test]
    fn plain_is_the_name_and_the_password() {
        assert_eq!(plain(&user(Mechanism::Plain, "me")), b"\0me\0pencil");
    }
}
