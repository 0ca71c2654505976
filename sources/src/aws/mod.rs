//! What the sources share that ask AWS, or somebody who believes it: as whom, and why no credential was had. It knows no source.

mod credential;
#[cfg(feature = "connect")]
mod identity;
#[cfg(feature = "connect")]
mod problem;
mod region;

pub use credential::{Base, Credential, Keys, Role};
pub(crate) use credential::{KEYS, parse};
#[cfg(feature = "connect")]
pub(crate) use identity::Identity;
#[cfg(feature = "connect")]
pub(crate) use problem::{Cause, late, not_had};
pub(crate) use region::{domain, domains, region};
