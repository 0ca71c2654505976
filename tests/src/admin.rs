//! A client that can be shown: `kube::Client` has no `Debug`, and nothing in it may be printed anyway.

use std::fmt;
use std::ops::Deref;

/// A client inside of a helper that is `Debug`.
#[derive(Clone)]
pub(crate) struct Admin(pub(crate) kube::Client);

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kube::Client")
    }
}

impl Deref for Admin {
    type Target = kube::Client;

    fn deref(&self) -> &kube::Client {
        &self.0
    }
}
