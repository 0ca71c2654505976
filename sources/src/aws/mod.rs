//! What the sources share that ask AWS, or somebody who believes it: as whom, why no credential was had, and signatures. It knows no
//! source.

mod credential;
#[cfg(feature = "connect")]
mod identity;
#[cfg(feature = "connect")]
mod problem;
mod region;
#[cfg(feature = "connect")]
mod sign;

pub use credential::{Base, Credential, Keys, Role};
pub(crate) use credential::{KEYS, is_given, parse};
#[cfg(feature = "connect")]
pub(crate) use identity::{Identity, Keeper};
#[cfg(feature = "connect")]
pub(crate) use problem::{Cause, late, not_had};
pub(crate) use region::{domain, domains, region};
#[cfg(feature = "connect")]
pub(crate) use sign::{Scope, encoded};
