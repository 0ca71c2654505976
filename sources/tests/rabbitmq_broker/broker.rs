//! A private RabbitMQ on loopback: started, frozen, thawed, killed and restarted by the test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::token_server::Issuer;

const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running broker. Dropping it kills it; so does the end of the thread that started it.
pub struct Broker {
    directory: TempDir,
    base: u16,
    child: Child,
    /// Whose tokens it takes.
    pub issuer: Issuer,
}

impl Broker {
    /// Starts Debian's broker on free ports and waits until its management API answers.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        certificates(&directory.path().join("pki"));
        let issuer = Issuer::new();
        fs::write(directory.path().join("pki/issuer.pem"), public_key(&issuer)).expect("written");
        let base = free_ports();
        let child = spawn(directory.path(), base);
        let mut broker = Self { directory, base, child, issuer };
        broker.ready().await;
        broker
    }

    /// Starts it again on the same ports, with the same data.
    pub async fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.base);
        self.ready().await;
    }

    pub fn amqps(&self) -> u16 {
        self.base + 1
    }

    pub fn amqp(&self) -> u16 {
        self.base + 2
    }

    pub fn management(&self) -> u16 {
        self.base + 3
    }

    /// The authority of the broker's certificate, as PEM.
    pub fn ca(&self) -> String {
        self.pem("ca.crt")
    }

    /// A file of the folder with the certificates, as PEM.
    pub fn pem(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a certificate or key")
    }

    /// Where that file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("pki").join(name)
    }

    /// Stops it in its tracks, as a machine that hangs: all its threads stand when this returns.
    pub async fn freeze(&self) {
        self.signal("STOP");
        let until = Instant::now() + Duration::from_secs(10);
        while self.states().iter().any(|state| state != "T") {
            assert!(Instant::now() < until, "not frozen: {:?}", self.states());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The state letter of each of its threads (proc(5)).
    fn states(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("procfs");
        let state = |stat: String| stat.rsplit(") ").next().and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        tasks
            .filter_map(Result::ok)
            .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
            .filter_map(state)
            .collect()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "signal {name}");
    }

    /// Kills it as a lost machine would.
    pub fn kill(&mut self) {
        self.child.kill().expect("the broker is killed");
        self.child.wait().expect("the broker has ended");
    }

    /// A request to the management API, as guest.
    pub async fn management_call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("http://127.0.0.1:{}/api{path}", self.management());
        let mut request = reqwest::Client::new().request(method, url).basic_auth("guest", Some("guest"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the management API answers");
        assert!(response.status().is_success(), "{path}: {}", response.status());
        serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or(Value::Null)
    }

    async fn ready(&mut self) {
        let until = Instant::now() + READY_WITHIN;
        let url = format!("http://127.0.0.1:{}/api/overview", self.management());
        let client = reqwest::Client::new();
        loop {
            let answer = client.get(&url).basic_auth("guest", Some("guest")).send().await;
            // The management API may answer before there is a listener for AMQP.
            let listens = [self.amqp(), self.amqps()].map(|port| TcpStream::connect(("127.0.0.1", port)).is_ok());
            if answer.is_ok_and(|answer| answer.status().is_success()) && listens == [true; 2] {
                return;
            }
            let ended = self.child.try_wait().expect("the broker's state");
            assert!(ended.is_none() && Instant::now() < until, "rabbitmq did not start ({ended:?}):\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("broker.log")).unwrap_or_default();
        log.lines().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path, base: u16) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/brokers/rabbitmq/run.sh");
    assert!(script.exists(), "{} is missing", script.display());
    assert!(
        Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").exists(),
        "rabbitmq is missing: apt-get install rabbitmq-server"
    );
    let log = fs::File::create(directory.join("broker.log")).expect("a log file");
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "bash"])
        .arg(script)
        .args([directory.to_path_buf(), directory.join("pki"), PathBuf::from(base.to_string())])
        .env("OAUTH", directory.join("pki/issuer.pem"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log)
        .spawn()
        .expect("the broker's script runs")
}

/// A base of which the six ports above are free.
fn free_ports() -> u16 {
    (0..200_u16)
        .map(|attempt| 21_000 + (u16::try_from(std::process::id() % 1000).expect("small") + attempt * 7) % 1000 * 10)
        .find(|base| (1..=6).all(|offset| TcpListener::bind(("127.0.0.1", base + offset)).is_ok()))
        .expect("six free ports in a row")
}

/// The public key as PEM: that of a P-256 point (RFC 5480).
fn public_key(issuer: &Issuer) -> String {
    const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let head = (0..P256.len()).step_by(2).map(|at| u8::from_str_radix(&P256[at..at + 2], 16).expect("hex"));
    let der: Vec<u8> = head.chain(issuer.point().iter().copied()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

/// An authority and a certificate for localhost: `ca.crt`, `adapter.crt`, `adapter.key`.
fn certificates(directory: &Path) {
    fs::create_dir_all(directory).expect("a directory");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let authority_certificate = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf =
        rcgen::CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer).expect("a certificate");
    fs::write(directory.join("ca.crt"), authority_certificate.pem()).expect("written");
    fs::write(directory.join("adapter.crt"), leaf.pem()).expect("written");
    fs::write(directory.join("adapter.key"), key.serialize_pem()).expect("written");
}
