//! What the programs beside the suites (`run`, `bench-latency`) have in common: a runtime, an orderly end on a signal, and
//! an exit code. Whatever ends them, what they started ends with them.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::scratch;

/// Runs `body` to its end or until SIGINT or SIGTERM, and drops it then, which ends the processes it holds. Its scratch
/// folders are removed if it went well or was interrupted, else they are kept and named on stderr.
///
/// Exit code: 0, 1 when it failed, 130 when it was interrupted.
pub fn run(body: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    // A second install in one process fails, which is what was wanted anyway.
    let _already_there = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // More threads than cores: dropping a process helper blocks its thread until the process is gone.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no tokio runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut interrupted = false;
    let ended = runtime.block_on(scratch::scope(async {
        tokio::select! {
            biased;
            result = interruption() => {
                interrupted = true;
                result
            }
            result = body => result,
        }
    }));
    match ended {
        Ok(()) if interrupted => ExitCode::from(130),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reasons: Vec<_> = error.chain().map(ToString::to_string).collect();
            eprintln!("error: {}", reasons.join("\n  because: "));
            ExitCode::FAILURE
        }
    }
}

async fn interruption() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("\ninterrupted, ending what was started");
    Ok(())
}
