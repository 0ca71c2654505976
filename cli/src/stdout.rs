//! Printing on standard output. Whoever reads it may have enough before the end, as `head` has: that ends the program, and is no
//! error.

use std::io::{ErrorKind, Write, stdout};

use anyhow::Context;

/// Prints `text` as it is; `what` says what it is, where it cannot be printed.
pub(crate) fn put(text: &str, what: &'static str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        printed => printed.context(what),
    }
}
