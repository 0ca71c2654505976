//! What goes wrong between a login by Kerberos, its KDCs and the brokers, as sentences for a person. Never repeats a credential.

use jiff::{SignedDuration, Timestamp};
use windlass_decision::FailureKind;

use super::super::config::Endpoint;
use super::super::outcome::{Problem, shortened};
use super::config::{Kerberos, Proof};
use super::messages::{Principal, Refusal};
use crate::http::Denied;

const USERNAME: &str = "metadata.username";
const REALM: &str = "metadata.realm";
/// The field that says where the KDCs are.
pub(in super::super) const CONF: &str = "metadata.kerberosConfig";
const SERVICE: &str = "metadata.kerberosServiceName";

/// The error codes of RFC 4120 section 7.5.9 that say something which a person can mend.
mod code {
    pub(super) const CLIENT_EXPIRED: i64 = 1;
    pub(super) const CLIENT_UNKNOWN: i64 = 6;
    pub(super) const SERVICE_UNKNOWN: i64 = 7;
    pub(super) const POLICY: i64 = 12;
    pub(super) const NO_COMMON_KEY: i64 = 14;
    pub(super) const CLIENT_LOCKED: i64 = 18;
    pub(super) const PASSWORD_EXPIRED: i64 = 23;
    pub(super) const WRONG_PROOF: i64 = 24;
    pub(super) const CANNOT_OPEN: i64 = 31;
    pub(super) const SKEW: i64 = 37;
    pub(super) const NOT_FOR_IT: i64 = 45;
    pub(super) const OTHER_REALM: i64 = 68;
}

fn unauthorised(field: &'static str, message: String) -> Problem {
    Problem::new(FailureKind::Unauthorised, field, message)
}

fn names(login: &Kerberos) -> String {
    login.kdcs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn kdc_unreachable(login: &Kerberos, at: &Endpoint, why: &str) -> Problem {
    let message = format!(
        "cannot reach the KDC of {} at {at}: {why}; check kdc in kerberosConfig, the port (88 over TCP) and network policies",
        login.realm
    );
    Problem::new(FailureKind::Unreachable, CONF, message)
}

pub(super) fn kdc_denied(at: &Endpoint, denied: Denied) -> Problem {
    Problem::new(FailureKind::Unreachable, CONF, denied.sentence(at))
}

pub(super) fn kdc_timeout(login: &Kerberos) -> Problem {
    let message = format!(
        "no KDC of {} (at {}) answered in time; check its load, the network and kdc in kerberosConfig",
        login.realm,
        names(login)
    );
    Problem::new(FailureKind::Timeout, CONF, message)
}

pub(super) fn no_kdc(login: &Kerberos, at: &Endpoint) -> Problem {
    let message = format!(
        "what listens at {at} does not answer as a KDC of {}; check kdc in kerberosConfig and its port",
        login.realm
    );
    Problem::new(FailureKind::BadAnswer, CONF, message)
}

pub(super) fn unavailable(login: &Kerberos, at: &Endpoint) -> Problem {
    let message =
        format!("the KDC of {} at {at} says that it is not available at present; it is tried again", login.realm);
    Problem::new(FailureKind::Unreachable, CONF, message)
}

/// An answer that does not belong to what was asked.
pub(super) fn nonsense(login: &Kerberos) -> Problem {
    let message = format!(
        "a KDC of {} (at {}) answered with something that was not asked for; check kdc in kerberosConfig",
        login.realm,
        names(login)
    );
    Problem::new(FailureKind::BadAnswer, CONF, message)
}

/// A wrong password, or a key that the principal has no more.
pub(super) fn wrong_proof(login: &Kerberos) -> Problem {
    match &login.proof {
        Proof::Password(_) => unauthorised(
            "metadata.password",
            format!(
                "the KDC refused the password of {login}; check username, realm and password, or the Secret they come from"
            ),
        ),
        Proof::Keytab(keys) => {
            let version = keys.iter().map(|key| key.version).max().unwrap_or_default();
            let message = format!(
                "the KDC refused the key of {login} in keytab (version {version}); export it anew: its password was changed, or its \
                 keys were, after keytab was written"
            );
            unauthorised("metadata.keytab", message)
        }
    }
}

/// It has no AES key in common with the KDC.
pub(super) fn no_common_key(login: &Kerberos) -> Problem {
    let message = match &login.proof {
        Proof::Password(_) => {
            format!(
                "the KDC has no AES key of {login}; change its password, so that it gets one, and allow AES in the realm"
            )
        }
        Proof::Keytab(_) => {
            format!("the KDC has no key of {login} of a kind that is in keytab; export the AES keys that it has")
        }
    };
    unauthorised(USERNAME, message)
}

/// The KDC lets it prove itself in other ways only.
pub(super) fn other_proof(login: &Kerberos) -> Problem {
    let message = format!(
        "the KDC takes neither password nor keytab of {login} as they are, but asks for another proof (FAST, a certificate, a one-time \
         password); let the principal log in with its key alone"
    );
    unauthorised(USERNAME, message)
}

pub(super) fn other_realm(login: &Kerberos, host: &str, realm: &str) -> Problem {
    let message = format!(
        "the broker {host} belongs to the realm {realm} by [domain_realm] of kerberosConfig, and {login} does not; log in to the \
         brokers' own realm, since no tickets of other realms are asked for"
    );
    unauthorised(REALM, message)
}

/// A ticket that ends before it can be used.
pub(super) fn ended(login: &Kerberos, end: Timestamp, now: Timestamp) -> Problem {
    let message = format!(
        "the KDC of {} gave a ticket that ends at {end}, where it is {now} here; set the clocks by NTP, or let tickets last longer",
        login.realm
    );
    Problem::new(FailureKind::BadAnswer, REALM, message)
}

fn skew(login: &Kerberos, refusal: &Refusal, now: Timestamp) -> Problem {
    let apart = refusal.now.duration_since(now);
    let (apart, which) = if apart < SignedDuration::ZERO { (-apart, "behind") } else { (apart, "ahead of") };
    let message = format!(
        "the clock of the KDC of {} is {} s {which} the operator's, which is too much; set both by NTP",
        login.realm,
        apart.as_secs()
    );
    unauthorised(REALM, message)
}

fn other(login: &Kerberos, what: &str, refusal: &Refusal) -> Problem {
    let said = if refusal.said.is_empty() { String::new() } else { format!(": {}", shortened(&refusal.said)) };
    let message = format!(
        "the KDC of {} gives no ticket {what} (error {} of Kerberos{said}); see the KDC's log",
        login.realm, refusal.code
    );
    Problem::new(FailureKind::BadAnswer, REALM, message)
}

/// The KDC does not let the principal log in.
pub(super) fn no_login(login: &Kerberos, refusal: &Refusal, now: Timestamp) -> Problem {
    let realm = &login.realm;
    match refusal.code {
        code::WRONG_PROOF | code::CANNOT_OPEN => wrong_proof(login),
        code::CLIENT_UNKNOWN => unauthorised(
            USERNAME,
            format!("the KDC does not know the principal {login}; correct username and realm, or create it"),
        ),
        code::SERVICE_UNKNOWN | code::OTHER_REALM => unauthorised(
            REALM,
            format!("the KDC does not serve the realm {realm} for {login}; correct realm, or kdc in kerberosConfig"),
        ),
        code::CLIENT_EXPIRED => {
            unauthorised(USERNAME, format!("the principal {login} has expired at the KDC; have it extended"))
        }
        code::PASSWORD_EXPIRED => {
            let field = if matches!(login.proof, Proof::Password(_)) { "metadata.password" } else { "metadata.keytab" };
            let message = format!(
                "the password of {login} has expired at the KDC; change it, and export the keytab anew if there is one"
            );
            unauthorised(field, message)
        }
        code::CLIENT_LOCKED => {
            unauthorised(USERNAME, format!("the principal {login} is locked or disabled at the KDC; have it unlocked"))
        }
        code::NO_COMMON_KEY => no_common_key(login),
        code::POLICY => {
            unauthorised(USERNAME, format!("the KDC's policy does not let {login} log in; have it allowed there"))
        }
        code::SKEW => skew(login, refusal, now),
        _ => other(login, &format!("to {login}"), refusal),
    }
}

/// The KDC gives no ticket for a broker.
pub(super) fn no_ticket(login: &Kerberos, service: &Principal, refusal: &Refusal, now: Timestamp) -> Problem {
    match refusal.code {
        // Another broker may have one: this is no reason to give all of them up.
        code::SERVICE_UNKNOWN => {
            let message = format!(
                "the KDC of {} does not know the broker's principal {service}; create it, correct kerberosServiceName, or have the \
                 broker named in bootstrapServers and advertised.listeners by the host of its principal",
                login.realm
            );
            Problem::new(FailureKind::BadAnswer, SERVICE, message)
        }
        code::NO_COMMON_KEY => {
            let message = format!("the KDC has no AES key of the broker's principal {service}; let it have one");
            Problem::new(FailureKind::BadAnswer, SERVICE, message)
        }
        code::POLICY => unauthorised(
            USERNAME,
            format!("the KDC's policy gives {login} no ticket for {service}; have it allowed there"),
        ),
        code::SKEW => skew(login, refusal, now),
        _ => other(login, &format!("for {service}"), refusal),
    }
}

/// What a broker says by Kerberos itself, in words.
pub(super) fn said(refusal: &Refusal, now: Timestamp) -> String {
    match refusal.code {
        code::SKEW => format!("its clock says {}, where it is {now} here: set both by NTP", refusal.now),
        code::CANNOT_OPEN | code::NOT_FOR_IT => "it cannot open the ticket".to_owned(),
        number => format!("error {number} of Kerberos: {}", refusal.said),
    }
}

/// A broker that could not open the ticket: it is somebody else, or has another key.
pub(super) fn unproved(service: &Principal, at: &Endpoint) -> Problem {
    let message = format!(
        "the broker at {at} has not proved that it is {service}; check bootstrapServers, and that nobody stands between"
    );
    unauthorised(SERVICE, message)
}

/// A broker that would have all that is sent signed or encrypted by Kerberos.
pub(super) fn wants_layer(at: &Endpoint) -> Problem {
    let message = format!(
        "the broker at {at} asks for Kerberos' own encryption, which Kafka's brokers do not; check bootstrapServers, and use tls to \
         encrypt"
    );
    Problem::new(FailureKind::BadAnswer, "metadata.tls", message)
}
