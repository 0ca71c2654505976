//! A private Kafka on loopback: started, frozen, thawed, killed and restarted by the test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::kerberos::Kdc;
use crate::token_server::Issuer;
use crate::tokens::jwks;

/// With an empty cache the broker is fetched first.
const READY_WITHIN: Duration = Duration::from_secs(300);
const READY: &str = "Kafka Server started";

/// The AWS key that a broker which is alone takes signatures of: its id, and its secret half.
pub const IAM_KEY: [&str; 2] = ["AKIDWINDLASS", "wr1tten/down+n0where"];

/// A running broker. Dropping it kills it; so does the end of the thread that started it.
pub struct Broker {
    shared: Arc<TempDir>,
    place: Place,
    child: Child,
    /// Whose tokens it takes.
    pub issuer: Issuer,
    /// Whose tickets it takes, if it is alone.
    pub kdc: Option<Kdc>,
}

/// Which broker of how many, and the port below its ports.
#[derive(Clone, Copy)]
struct Place {
    node: u16,
    nodes: u16,
    base: u16,
}

impl Broker {
    /// Starts a broker of its own on free ports and waits until it is ready.
    pub async fn start() -> Self {
        let shared = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let kdc = Kdc::start(shared.path().join("kdc")).await;
        let mut broker = Self::start_in(&shared, 1).await.pop().expect("a broker");
        broker.kdc = Some(kdc);
        broker
    }

    /// Starts so many brokers of one cluster on free ports and waits until they are ready.
    pub async fn start_cluster(nodes: u16) -> Vec<Self> {
        Self::start_in(&Arc::new(tempfile::tempdir().expect("a temporary directory")), nodes).await
    }

    async fn start_in(shared: &Arc<TempDir>, nodes: u16) -> Vec<Self> {
        certificates(&shared.path().join("pki"));
        let issuer = Issuer::new();
        fs::write(shared.path().join("pki/jwks.json"), jwks(&issuer)).expect("written");
        let first = free_ports(nodes);
        let start = |node| {
            let place = Place { node, nodes, base: first + 10 * (node - 1) };
            let child = spawn(shared.path(), place);
            Self { child, shared: Arc::clone(shared), place, issuer: issuer.clone(), kdc: None }
        };
        let mut brokers: Vec<_> = (1..=nodes).map(start).collect();
        for broker in &mut brokers {
            broker.ready().await;
        }
        brokers
    }

    /// Starts it again on the same ports, with the same data.
    pub async fn restart(&mut self) {
        self.child = spawn(self.shared.path(), self.place);
        self.ready().await;
    }

    pub fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.place.base + 2)
    }

    pub fn plain_port(&self) -> u16 {
        self.place.base + 2
    }

    pub fn tls(&self) -> String {
        format!("localhost:{}", self.place.base + 4)
    }

    pub fn login(&self) -> String {
        format!("127.0.0.1:{}", self.place.base + 5)
    }

    pub fn login_tls(&self) -> String {
        format!("localhost:{}", self.place.base + 6)
    }

    /// Where it takes tickets.
    pub fn kerberos(&self) -> String {
        format!("localhost:{}", self.place.base + 8)
    }

    /// A file of the folder with the certificates, as PEM.
    pub fn pem(&self, name: &str) -> String {
        fs::read_to_string(self.shared.path().join("pki").join(name)).expect("a certificate or key")
    }

    /// The private key `name`, encrypted with a password.
    pub fn encrypted(&self, name: &str, password: &str) -> String {
        let output = Command::new("openssl")
            .args(["pkcs8", "-topk8", "-passout", &format!("pass:{password}"), "-in"])
            .arg(self.shared.path().join("pki").join(name))
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("PEM")
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

    async fn ready(&mut self) {
        let until = Instant::now() + READY_WITHIN;
        while !self.log().contains(READY) {
            let ended = self.child.try_wait().expect("the broker's state");
            assert!(ended.is_none() && Instant::now() < until, "kafka did not start ({ended:?}):\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(folder(self.shared.path(), self.place).join("broker.log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder(shared: &Path, place: Place) -> PathBuf {
    shared.join(place.node.to_string())
}

/// Starts the script, with a log of its own for each start.
fn spawn(shared: &Path, place: Place) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/brokers/kafka/run.sh");
    assert!(script.exists(), "{} is missing", script.display());
    let folder = folder(shared, place);
    fs::create_dir_all(&folder).expect("a directory");
    let log = fs::File::create(folder.join("broker.log")).expect("a log file");
    // The script counts ports from those of the first broker.
    let first = place.base - 10 * (place.node - 1);
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "bash"])
        .arg(script)
        .args([folder, shared.join("pki"), PathBuf::from(first.to_string())])
        .env("NODES", place.nodes.to_string())
        .env("NODE", place.node.to_string())
        .envs([("JWKS", shared.join("pki/jwks.json"))].into_iter().filter(|_| place.nodes == 1))
        .envs([("IAM", IAM_KEY.join(":"))].into_iter().filter(|_| place.nodes == 1))
        .envs([("KERBEROS", shared.join("kdc"))].into_iter().filter(|_| place.nodes == 1))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log)
        .spawn()
        .expect("the broker's script runs")
}

/// A base of which the ports above are free, for each broker of a cluster.
fn free_ports(nodes: u16) -> u16 {
    let pid = u16::try_from(std::process::id() % 300).expect("small");
    // Clusters of different sizes start at the same time.
    let from = if nodes == 1 { 11_000 } else { 21_000 };
    let free = |base: u16, port: u16| TcpListener::bind(("127.0.0.1", base + port)).is_ok();
    (0..200)
        .map(|attempt| from + (pid + attempt * 7) % 300 * 30)
        .find(|base| (0..nodes).all(|node| (2..=8).all(|port| free(*base, 10 * node + port))))
        .expect("free ports in a row")
}

/// An authority, a certificate for localhost that may do all (`adapter`), and one that may do nothing (`stranger`).
fn certificates(directory: &Path) {
    fs::create_dir_all(directory).expect("a directory");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let authority_certificate = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    fs::write(directory.join("ca.crt"), authority_certificate.pem()).expect("written");
    for name in ["adapter", "stranger"] {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut leaf = rcgen::CertificateParams::new(names).expect("parameters");
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(rcgen::DnType::CommonName, format!("rig-{name}"));
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        fs::write(directory.join(format!("{name}.crt")), leaf.pem()).expect("written");
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).expect("written");
    }
}
