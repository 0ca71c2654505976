//! Folders for state and logs: removed when their test passed, kept and named when it failed.
//!
//! All of one test process lie in one folder named by its process id, so that the folders of dead processes can be
//! swept: at once when nothing failed there, else after a day.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;

tokio::task_local! {
    static SCOPE: RefCell<Vec<PathBuf>>;
}

static ROOT: OnceLock<PathBuf> = OnceLock::new();
static COUNTER: AtomicU32 = AtomicU32::new(0);
const KEEP_FAILED: Duration = Duration::from_hours(24);

/// The folder of this test process.
#[must_use]
pub fn root() -> &'static Path {
    ROOT.get_or_init(|| {
        let all = std::env::temp_dir().join("windlass-tests");
        sweep(&all);
        all.join(std::process::id().to_string())
    })
}

/// A new folder; it belongs to the test that runs now, or, outside of one, to the process.
///
/// # Errors
/// When it cannot be made.
pub fn dir(name: &str) -> anyhow::Result<PathBuf> {
    let dir = root().join(format!("{name}-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let _outside_of_a_test = SCOPE.try_with(|scope| scope.borrow_mut().push(dir.clone()));
    Ok(dir)
}

/// Runs a test's body; afterwards its folders are removed if it passed, else named on stderr and kept.
///
/// # Errors
/// Those of the body.
pub(crate) async fn scope(body: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let kept = KeepUnlessPassed;
    let (result, dirs) = SCOPE
        .scope(RefCell::default(), async {
            let result = body.await;
            (result, SCOPE.with(RefCell::take))
        })
        .await;
    if result.is_ok() {
        std::mem::forget(kept);
        for dir in dirs {
            let _best_effort = fs::remove_dir_all(dir);
        }
    }
    result
}

/// Dropped by an error, a panic or a cancelled body alike.
struct KeepUnlessPassed;

impl Drop for KeepUnlessPassed {
    fn drop(&mut self) {
        let _best_effort = fs::create_dir_all(root()).and_then(|()| fs::write(root().join("failed"), ""));
        eprintln!("logs are kept in {}", root().display());
    }
}

fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let alive = Path::new("/proc").join(entry.file_name()).exists();
        let old = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok()) > Some(KEEP_FAILED);
        if !alive && (old || !entry.path().join("failed").exists()) {
            let _best_effort = fs::remove_dir_all(entry.path());
        }
    }
}
