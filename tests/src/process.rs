//! Child processes that cannot outlive the test process, with signals and figures from `/proc`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::eventually::POLL;

/// The unit of the times in `/proc/PID/stat`: `sysconf(_SC_CLK_TCK)`, 100 on every Linux architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running program. Dropped: SIGTERM, then after the grace SIGKILL.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    grace: Duration,
    child: Mutex<Child>,
}

impl Process {
    /// Starts `command`; what it prints is appended to `log` (stdout too, unless `stdout` names another file).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(name: &str, command: &Command, log: &Path, stdout: Option<&Path>) -> anyhow::Result<Self> {
        let open = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        // setpriv replaces itself by the program, so that the child's pid is the program's.
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            wrapped.current_dir(dir);
        }
        wrapped.stdin(Stdio::null()).stderr(open(log)?).stdout(open(stdout.unwrap_or(log))?);
        let child = on_lasting_thread(wrapped).with_context(|| format!("cannot start {name} (through setpriv)"))?;
        Ok(Self {
            name: name.to_owned(),
            pid: child.id(),
            log: log.to_owned(),
            grace: Duration::from_secs(5),
            child: Mutex::new(child),
        })
    }

    /// How long a drop waits between SIGTERM and SIGKILL; zero: SIGKILL at once.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file of its output.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All it has printed; empty when the file cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its exit status once it has ended.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn ended(&self) -> io::Result<Option<ExitStatus>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait()
    }

    /// Fails with the end of the log when the program has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn ensure_running(&self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            let tail: String = tail.into_iter().rev().map(|line| format!("  {line}\n")).collect();
            bail!("{} ended ({status}); the end of {}:\n{tail}", self.name, self.log.display());
        }
        Ok(())
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`, `INT`, ...
    ///
    /// # Errors
    /// When the program has ended or the signal cannot be sent.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        // Not waited for yet, so the pid is still its own.
        ensure!(self.ended()?.is_none(), "{} has ended and cannot take SIG{signal}", self.name);
        signal_pid(self.pid, signal)
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn kill9(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it has not within `deadline`.
    pub async fn wait(&self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        crate::eventually(deadline, &format!("{} ends", self.name), async || {
            self.ended()?.with_context(|| format!("pid {} still runs", self.pid))
        })
        .await
    }

    /// Resident memory in bytes (`VmRSS`).
    ///
    /// # Errors
    /// When it has ended.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS: it has ended")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// How many threads it has.
    ///
    /// # Errors
    /// When it has ended.
    pub fn threads(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/task", self.pid)).context("it has ended")?.count())
    }

    /// How many sockets it has open.
    ///
    /// # Errors
    /// When it has ended.
    pub fn sockets(&self) -> anyhow::Result<usize> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid)).context("it has ended")?;
        let is_socket = |entry: &fs::DirEntry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        };
        Ok(descriptors.flatten().filter(is_socket).count())
    }

    /// Processor time used so far, user and system, in seconds.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The second field is the name in parentheses and may hold blanks; utime and stime are fields 14 and 15.
        let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
        let ticks: Vec<f64> =
            after_name.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        ensure!(ticks.len() == 2, "too few fields in stat");
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.grace > Duration::ZERO && matches!(self.ended(), Ok(None)) {
            // A frozen process cannot take SIGTERM.
            let _best_effort = signal_pid(self.pid, "CONT").and_then(|()| signal_pid(self.pid, "TERM"));
            let end = Instant::now() + self.grace;
            while matches!(self.ended(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(POLL / 5);
            }
        }
        let _best_effort = self.kill9();
    }
}

/// Sends a signal to a process that the caller, or a program it started, has started.
///
/// # Errors
/// When there is none of that pid, or `kill` is not there.
pub fn signal_pid(pid: u32, signal: &str) -> anyhow::Result<()> {
    let output = Command::new("kill").args(["-s", signal, &pid.to_string()]).output().context("cannot run kill")?;
    ensure!(output.status.success(), "SIG{signal} to pid {pid}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The kernel sends the death signal when the *thread* that started the child ends, so that thread must last.
fn on_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _asker_gone = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, result) = mpsc::channel();
    let gone = |_| io::Error::other("the spawning thread has ended");
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|e| gone(e.to_string()))?;
    result.recv().map_err(|e| gone(e.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(name: &str, script: &str) -> Process {
        let dir = crate::scratch::dir(name).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("GREETING", "hello");
        Process::spawn(name, &command, &dir.join("log"), None).unwrap()
    }

    fn state(pid: u32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    fn until(what: &str, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < end, "not within 10 s: {what}");
            std::thread::sleep(POLL / 10);
        }
    }

    #[test]
    fn signals_reach_the_program_itself() {
        let process = sleeper("signals", "echo $GREETING; exec sleep 60");
        until("its output is in the log", || process.log() == "hello\n");
        process.signal("STOP").unwrap();
        until("it is frozen", || state(process.pid()) == Some('T'));
        process.signal("CONT").unwrap();
        until("it is thawed", || state(process.pid()) == Some('S'));
        assert!(process.rss_bytes().unwrap() > 100_000 && process.cpu_seconds().unwrap() < 5.0);
        process.ensure_running().unwrap();
        process.kill9().unwrap();
        assert!(process.ended().unwrap().is_some() && state(process.pid()).is_none());
        assert!(process.signal("CONT").is_err(), "a signal to a pid that is no longer its own");
        assert!(process.ensure_running().unwrap_err().to_string().contains("hello"), "no log in the error");
    }

    #[test]
    fn a_drop_asks_first_and_then_kills() {
        let polite = sleeper("polite", "trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.05; done");
        until("it runs", || polite.log().contains("on"));
        polite.signal("STOP").unwrap();
        let log = polite.log_path().to_owned();
        drop(polite);
        assert!(fs::read_to_string(log).unwrap().contains("bye"), "frozen, and not thawed before it was asked to end");

        let deaf = sleeper("deaf", "trap '' TERM; echo on; exec sleep 60").with_grace(Duration::from_millis(100));
        until("it runs", || deaf.log().contains("on"));
        let pid = deaf.pid();
        drop(deaf);
        assert_eq!(state(pid), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let dir = crate::scratch::dir("absent").unwrap();
        let absent = Process::spawn("absent", &Command::new("/no/such/program"), &dir.join("log"), None).unwrap();
        until("setpriv has given up", || absent.ended().unwrap().is_some());
        assert!(absent.ensure_running().unwrap_err().to_string().contains("/no/such/program"));
    }
}
