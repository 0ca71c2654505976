//! The innermost reason of an error, in the words of whoever gave it.

use std::error::Error;
use std::io;

/// The error within an error, if there is one.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // An io::Error shows its payload as itself and its payload's source as its source: look into it by hand.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(payload) => Some(payload),
        None => error.source(),
    }
}

/// All errors of a chain, outermost first.
pub(crate) fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| inner(*error))
}

/// The innermost reason of an error chain, and whether it comes from TLS.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> (String, bool) {
    let tls = chain(error).any(|error| error.is::<rustls::Error>());
    (chain(error).last().map(ToString::to_string).unwrap_or_default(), tls)
}
