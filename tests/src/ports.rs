//! Free ports on 127.0.0.1, in blocks of ten, reserved among all test processes of the machine by locked files.
//!
//! They come from below the range the kernel takes for outgoing connections: a server that is killed and started
//! again finds its port free.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

/// Ports of one block.
pub const BLOCK: u16 = 10;
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 1_200;

static POOL: Mutex<Pool> = Mutex::new(Pool { locks: Vec::new(), tried: 0, singles: Vec::new() });

struct Pool {
    /// Held for the life of the process.
    locks: Vec<File>,
    tried: u16,
    singles: Vec<u16>,
}

/// The first port of ten that are free; they stay this process's.
///
/// # Errors
/// When no block is free.
pub fn block() -> anyhow::Result<u16> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner).block()
}

/// One free port; it stays this process's.
///
/// # Errors
/// When none is free.
pub fn single() -> anyhow::Result<u16> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.singles.is_empty() {
        let base = pool.block()?;
        pool.singles.extend((base..base + BLOCK).rev());
    }
    pool.singles.pop().context("no free port")
}

impl Pool {
    fn block(&mut self) -> anyhow::Result<u16> {
        let dir = std::env::temp_dir().join("windlass-ports");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        // Processes start in different places, so that they seldom meet.
        let start = u16::try_from(std::process::id() % u32::from(BLOCKS))?.wrapping_mul(7);
        while self.tried < BLOCKS {
            let index = (start.wrapping_add(self.tried)) % BLOCKS;
            self.tried += 1;
            let base = FIRST + index * BLOCK;
            let path = dir.join(format!("{base}.lock"));
            let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            if lock.try_lock().is_ok() && (base..base + BLOCK).all(free) {
                self.locks.push(lock);
                return Ok(base);
            }
        }
        bail!("no block of {BLOCK} free ports from {FIRST} on")
    }
}
