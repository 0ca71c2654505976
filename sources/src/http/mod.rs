//! What the sources that speak HTTP share: addresses, credentials and certificates of a trigger, a client that keeps to a
//! [`NetworkPolicy`], and words for what goes wrong. It knows no source. It never follows a redirect, never uses a proxy, and
//! never repeats an answer's content.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

mod address;
mod auth;
#[cfg(feature = "connect")]
mod client;
mod oauth;
mod pairs;
#[cfg(feature = "connect")]
mod policy;
#[cfg(feature = "connect")]
mod problem;
mod tls;

pub use address::Endpoint;
pub(crate) use address::url;
pub use auth::Auth;
pub(crate) use auth::{Mode, authentication};
#[cfg(feature = "connect")]
pub(crate) use client::{Client, Guard, IN_FLIGHT, Request, Trouble, each};
pub(crate) use oauth::{KEYS as OAUTH_KEYS, by_names, parse as oauth};
pub use oauth::{Names, OAuth};
#[cfg(feature = "connect")]
pub(crate) use oauth::{Tokens, ask_as};
pub use pairs::form;
pub(crate) use pairs::{headers, parameters};
#[cfg(feature = "connect")]
pub(crate) use policy::Denied;
#[cfg(feature = "connect")]
pub use policy::{NetworkPolicy, Place, Zone};
#[cfg(feature = "connect")]
pub(crate) use problem::{NoFigure, Problem, Site, measured};
pub use tls::Tls;
pub(crate) use tls::{certificates, key_password};

/// The bytes that a part of a path or query string leaves as they are (RFC 3986, section 2.3).
pub(crate) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
