//! As whom a Kafka trigger logs in, and how that is proved: what its metadata says. This module never connects and never prints a
//! credential.

use crate::{Metadata, Secret};

/// A way to log in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Login {
    /// With a password.
    Password(Password),
}

impl Login {
    /// The name that brokers know the mechanism by.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Password(password) => password.mechanism.name(),
        }
    }
}

impl std::fmt::Display for Login {
    /// Who it is, in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password(password) => write!(f, "user {:?}", password.username),
        }
    }
}

/// A user, and how the password is proved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Password {
    /// How.
    pub mechanism: Mechanism,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// It is sent as it is.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// The name that brokers know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Reads `sasl` and the keys that belong to it; records what is wrong.
pub(super) fn parse(metadata: &mut Metadata<'_>) -> Option<Login> {
    const MECHANISMS: &[(&str, Option<Mechanism>)] = &[
        ("none", None),
        ("plaintext", Some(Mechanism::Plain)),
        ("scram_sha256", Some(Mechanism::ScramSha256)),
        ("scram_sha512", Some(Mechanism::ScramSha512)),
    ];
    let username = metadata.optional("username");
    let password = metadata.optional("password");
    let written = metadata.optional("sasl").unwrap_or("none");
    if ["oauthbearer", "gssapi", "aws_msk_iam"].iter().any(|other| other.eq_ignore_ascii_case(written)) {
        let fix = "use plaintext, scram_sha256 or scram_sha512, or a client certificate";
        metadata.error("sasl", format!("{} is not supported yet", written.to_ascii_lowercase()), fix);
        return None;
    }
    let Some(mechanism) = metadata.choice("sasl", MECHANISMS).flatten() else {
        for key in ["username", "password"] {
            if metadata.is_public(key) {
                metadata.no_effect(key, "nobody logs in where sasl is none");
            }
        }
        return None;
    };
    for (value, key) in [(username, "username"), (password, "password")] {
        match value {
            None => metadata.error(key, "is required with sasl", "give both username and password, or sasl: none"),
            Some(value) if value.contains('\0') => metadata.error(key, "contains a zero byte", "correct it"),
            Some(_) => {}
        }
    }
    Some(Login::Password(Password { mechanism, username: username?.to_owned(), password: Secret::new(password?) }))
}
