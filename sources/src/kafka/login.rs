//! As whom a Kafka trigger logs in, and how that is proved: what its metadata says. This module never connects and never prints a
//! credential.

use std::fmt;

use super::config::{Endpoint, Tls};
use super::kerberos::{self, Kerberos};
use crate::aws::{self, Base, Credential};
use crate::http::{Names, OAuth, by_names};
use crate::{Metadata, Secret};

/// A way to log in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Login {
    /// With a password.
    Password(Password),
    /// With a token that a server hands out.
    Bearer(Bearer),
    /// With a token that is signed by an identity of AWS.
    Iam(Iam),
    /// With a ticket of Kerberos.
    Kerberos(Kerberos),
}

/// A token of OAuth 2.0 (RFC 7628, KIP-255).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bearer {
    /// Who hands it out.
    pub oauth: OAuth,
    /// What is said to brokers besides, by name.
    pub extensions: Vec<(String, Secret)>,
}

/// An identity of AWS, as the brokers of MSK take it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Iam {
    /// The region of the brokers, as tokens are signed for.
    pub region: String,
    /// As whom they are asked.
    pub credential: Credential,
}

impl Login {
    /// The name that brokers know the mechanism by.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Password(password) => password.mechanism.name(),
            Self::Bearer(_) | Self::Iam(_) => "OAUTHBEARER",
            Self::Kerberos(_) => "GSSAPI",
        }
    }

    /// The field to look at, where a broker does not take what it is shown.
    #[cfg(feature = "connect")]
    pub(super) const fn field(&self) -> &'static str {
        match self {
            Self::Password(_) => "metadata.password",
            Self::Bearer(_) => NAMES.uri.1,
            Self::Iam(iam) => iam.credential.field(),
            Self::Kerberos(_) => "metadata.kerberosServiceName",
        }
    }

    /// What to look at then, in words.
    #[cfg(feature = "connect")]
    pub(super) const fn advice(&self) -> &'static str {
        match self {
            Self::Password(_) => "check username, password and sasl, or the Secret they come from",
            Self::Bearer(_) => {
                "check scopes and oauthExtensions, and whom the broker takes tokens from (its issuer, audience and keys)"
            }
            Self::Iam(_) => {
                "check awsRegion, and that the identity's policy allows kafka-cluster:Connect to this cluster"
            }
            Self::Kerberos(_) => {
                "check that its keytab has the present key of its own principal (of kerberosServiceName and the host), its clock and \
                 its sasl.kerberos.principal.to.local.rules"
            }
        }
    }
}

impl fmt::Display for Login {
    /// Who it is, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(password) => write!(f, "user {:?}", password.username),
            Self::Bearer(bearer) => write!(f, "client {:?}", bearer.oauth.client_id),
            Self::Iam(iam) => iam.credential.fmt(f),
            Self::Kerberos(kerberos) => write!(f, "principal {:?}", kerberos.to_string()),
        }
    }
}

impl Iam {
    /// Whether a token may be shown to `host`. For its quarter of an hour it is worth as much as the identity itself, to whoever sees
    /// it. Keys are whoever's who gave them; what is the operator's own goes to AWS's brokers alone.
    pub(super) fn may_go_to(&self, host: &str) -> bool {
        let domain = format!("{}.{}", self.region, aws::domain(&self.region));
        let of_aws = host
            .strip_suffix(&domain)
            .is_some_and(|rest| rest.ends_with(".kafka.") || rest.ends_with(".kafka-serverless."));
        of_aws || matches!(self.credential.base, Base::Keys(_))
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

/// What `sasl` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Nobody,
    Password(Mechanism),
    Token,
    Iam,
    Kerberos,
}

const WAYS: &[(&str, Way)] = &[
    ("none", Way::Nobody),
    ("plaintext", Way::Password(Mechanism::Plain)),
    ("scram_sha256", Way::Password(Mechanism::ScramSha256)),
    ("scram_sha512", Way::Password(Mechanism::ScramSha512)),
    ("oauthbearer", Way::Token),
    ("aws_msk_iam", Way::Iam),
    ("gssapi", Way::Kerberos),
];
const PROVIDER: &str = "saslTokenProvider";
const OAUTH: [&str; 3] = ["oauthTokenEndpointUri", "scopes", "oauthExtensions"];

/// What the keys of [`OAuth`] are called here.
static NAMES: Names = Names {
    uri: ("oauthTokenEndpointUri", "metadata.oauthTokenEndpointUri"),
    id: ("username", "metadata.username"),
    secret: "password",
    all: "username, password and scopes",
};

/// Reads `sasl` and the keys that belong to it; records what is wrong. `bootstrap` and `tls` are what the trigger says of the servers.
pub(super) fn parse(metadata: &mut Metadata<'_>, bootstrap: &[Endpoint], tls: Option<&Tls>) -> Option<Login> {
    let (user, ca) = (["username", "password"].map(|key| metadata.optional(key)), metadata.optional("ca"));
    let provider = metadata.choice(PROVIDER, &[("bearer", Way::Token), ("aws_msk_iam", Way::Iam)]);
    let way = match metadata.choice("sasl", WAYS) {
        Some(Way::Token) => provider.unwrap_or(Way::Token),
        way => {
            metadata.unused(&[PROVIDER], "it says where the token comes from with sasl: oauthbearer");
            way.unwrap_or(Way::Nobody)
        }
    };
    if way != Way::Token {
        metadata.unused(&OAUTH, "it belongs to sasl: oauthbearer");
    }
    if way != Way::Kerberos {
        metadata.unused(&kerberos::KEYS, "it belongs to sasl: gssapi");
    }
    if way != Way::Iam {
        let keys = ["awsRegion", "awsEndpoint", "identityOwner"];
        metadata.unused(&[&keys[..], &aws::KEYS].concat(), "it belongs to saslTokenProvider: aws_msk_iam");
    }
    match way {
        Way::Nobody => {
            metadata.unused(&["username", "password"], "nobody logs in where sasl is none");
            None
        }
        Way::Password(mechanism) => password(metadata, mechanism, user),
        Way::Token => bearer(metadata, ca),
        Way::Kerberos => kerberos::parse(metadata).map(Login::Kerberos),
        Way::Iam => {
            metadata.unused(&["username", "password"], "the token is signed by an identity of AWS");
            iam(metadata, bootstrap, tls)
        }
    }
}

fn password(
    metadata: &mut Metadata<'_>,
    mechanism: Mechanism,
    [username, password]: [Option<&str>; 2],
) -> Option<Login> {
    for (value, key) in [(username, "username"), (password, "password")] {
        match value {
            None => metadata.error(key, "is required with sasl", "give both username and password, or sasl: none"),
            Some(value) if value.contains('\0') => metadata.error(key, "contains a zero byte", "correct it"),
            Some(_) => {}
        }
    }
    Some(Login::Password(Password { mechanism, username: username?.to_owned(), password: Secret::new(password?) }))
}

fn bearer(metadata: &mut Metadata<'_>, ca: Option<&str>) -> Option<Login> {
    // The brokers may be trusted unverified, whoever is given the client's secret may not.
    let tls = Tls { ca: ca.map(Secret::new), ..Tls::default() };
    let scopes = metadata.optional(OAUTH[1]);
    let extensions = extensions(metadata);
    let oauth = by_names(metadata, &tls, &NAMES, scopes);
    Some(Login::Bearer(Bearer { oauth: oauth?, extensions: extensions? }))
}

/// `name=value`, several of them with commas. Names are letters, values what can be seen (RFC 7628, section 3.1).
fn extensions(metadata: &mut Metadata<'_>) -> Option<Vec<(String, Secret)>> {
    let written = metadata.optional(OAUTH[2]).unwrap_or_default();
    let mut extensions = Vec::new();
    for one in written.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let sound = one.split_once('=').filter(|(name, value)| {
            let letters = !name.is_empty() && !value.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
            letters
                && !name.eq_ignore_ascii_case("auth")
                && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        });
        let Some((name, value)) = sound else {
            let fix = "write name=value, several of them with commas; a name is letters, and not auth";
            metadata.error(OAUTH[2], format!("its part {} is not name=value", extensions.len() + 1), fix);
            return None;
        };
        extensions.push((name.to_owned(), Secret::new(value)));
    }
    Some(extensions)
}

fn iam(metadata: &mut Metadata<'_>, bootstrap: &[Endpoint], tls: Option<&Tls>) -> Option<Login> {
    metadata.unused(&["awsEndpoint"], "tokens are signed here, for the brokers of the region");
    let region = aws::region(metadata, "write the region of the MSK cluster, such as eu-west-1");
    let credential = aws::parse(metadata);
    if tls.is_none() {
        let fix = "write tls: enable, and the port of MSK's listener for IAM, 9098";
        metadata.error("tls", "is required with aws_msk_iam: whoever sees the token may use it", fix);
    }
    let iam = Iam { region: region?, credential: credential? };
    if let Some(stranger) = bootstrap.iter().find(|at| !iam.may_go_to(&at.host)) {
        let host = &stranger.host;
        let problem = format!("names {host:?}, which is no broker of MSK in {}", iam.region);
        let fix = "correct it or awsRegion; the operator's own identity is shown to brokers of AWS alone, keys of a Secret to any";
        metadata.error("bootstrapServers", problem, fix);
    }
    if matches!(iam.credential.base, Base::Operator) && tls.is_some_and(|tls| tls.unsafe_ssl) {
        let fix = "remove it: MSK's certificates are of a public authority";
        metadata.error("unsafeSsl", "does not go with the operator's own identity", fix);
    }
    Some(Login::Iam(iam))
}
