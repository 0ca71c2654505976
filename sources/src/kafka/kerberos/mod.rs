//! Logging in by Kerberos (`sasl: gssapi`): tickets of a KDC, and the tokens that show them to a broker. All of it is spoken here, in
//! the operator's own process state: no credential cache, no environment and no `/etc/krb5.conf` is read, so that one trigger's login
//! has nothing to do with another's. It knows AES alone, one realm, and passwords or keytabs; never FAST, PKINIT or DNS lookups.

mod conf;
mod config;
#[cfg(feature = "connect")]
mod crypto;
#[cfg(feature = "connect")]
mod der;
#[cfg(feature = "connect")]
mod dialogue;
#[cfg(feature = "connect")]
mod gss;
#[cfg(feature = "connect")]
mod kdc;
mod keytab;
#[cfg(feature = "connect")]
mod messages;
#[cfg(feature = "connect")]
mod problem;
#[cfg(feature = "connect")]
mod tickets;

pub(super) use config::{KEYS, parse};
pub use config::{Kerberos, Proof};
pub use keytab::{Etype, KeytabKey};
#[cfg(feature = "connect")]
pub(super) use problem::CONF;
#[cfg(feature = "connect")]
pub(super) use tickets::Tickets;
