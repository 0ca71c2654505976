//! Where things lie in the repository, found from this crate's folder; nothing is assumed about the machine.

use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// The folder of the brokers' start scripts: `WINDLASS_BROKERS`, else `tests/brokers`.
#[must_use]
pub fn brokers() -> PathBuf {
    std::env::var_os("WINDLASS_BROKERS").map_or_else(|| root().join("tests/brokers"), PathBuf::from)
}
