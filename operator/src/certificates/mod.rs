//! The serving certificate of the external metrics API: from files somebody else renews, or made and renewed by the
//! leader and shared by all replicas through a Secret. A certificate that cannot be used never replaces one that can.

mod bundle;
#[cfg(test)]
pub(crate) mod fake;
mod files;
pub(crate) mod follow;
mod managed;
mod plan;
mod serving;

pub use bundle::{Bundle, BundleError, serving_names};
pub use files::{CertificateFiles, FileError};
pub use managed::{API_SERVICE, ManageError, Manager, SECRET, SERVICE, follow_secret};
pub use plan::{Facts, Life, Plan, plan};
pub use serving::ServingCertificate;
