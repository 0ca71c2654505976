//! A private SQS server on loopback, ElasticMQ or moto: started, frozen, thawed, killed and restarted by the test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use tempfile::TempDir;

/// The first start fetches the server.
const READY_WITHIN: Duration = Duration::from_secs(240);

/// A running server. Dropping it kills it; so does the end of the thread that started it.
pub struct Server {
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
    directory: TempDir,
    tls: bool,
    port: u16,
    child: Child,
}

impl Server {
    /// ElasticMQ, which keeps its queues in memory.
    pub async fn elasticmq() -> Self {
        Self::start("elasticmq", &[], false).await
    }

    /// moto, which answers with AWS's own errors. It checks keys and policies once `INITIAL_NO_AUTH_ACTION_COUNT` is given.
    pub async fn moto(environment: &'static [(&'static str, &'static str)]) -> Self {
        Self::start("moto", environment, false).await
    }

    /// moto behind TLS, with a certificate of an authority of its own.
    pub async fn moto_with_tls() -> Self {
        Self::start("moto", &[], true).await
    }

    async fn start(name: &'static str, environment: &'static [(&'static str, &'static str)], tls: bool) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        if tls {
            certificates(&directory.path().join("pki"));
        }
        let port = free_port();
        let child = spawn(name, environment, directory.path(), port, tls);
        let mut server = Self { name, environment, directory, tls, port, child };
        server.ready().await;
        server
    }

    /// Starts it again on the same port; its queues are gone.
    pub async fn restart(&mut self) {
        self.child = spawn(self.name, self.environment, self.directory.path(), self.port, self.tls);
        self.ready().await;
    }

    pub fn address(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    /// The file with the authority of its certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("pki/ca.crt")
    }

    /// A client that makes queues and messages.
    pub fn client(&self) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(self.address())
            .credentials_provider(Credentials::new("test", "test", None, None, "test"));
        aws_sdk_sqs::Client::from_conf(config.build())
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
        self.child.kill().expect("the server is killed");
        self.child.wait().expect("the server has ended");
    }

    async fn ready(&mut self) {
        let until = Instant::now() + READY_WITHIN;
        let client =
            reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().expect("a client");
        // Any answer will do, and ElasticMQ's to this one is an error.
        while client.get(self.address()).send().await.is_err() {
            let ended = self.child.try_wait().expect("the server's state");
            let name = self.name;
            assert!(ended.is_none() && Instant::now() < until, "{name} did not start ({ended:?}):\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default();
        log.lines().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(name: &str, environment: &[(&str, &str)], directory: &Path, port: u16, tls: bool) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/brokers/sqs/run.sh");
    assert!(script.exists(), "{} is missing", script.display());
    let log = fs::File::create(directory.join("server.log")).expect("a log file");
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "bash"])
        .arg(script)
        .args([PathBuf::from(name), directory.to_path_buf(), PathBuf::from(port.to_string())])
        .args(tls.then(|| directory.join("pki")))
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log)
        .spawn()
        .expect("the server's script runs")
}

/// An authority and a certificate for this host: `ca.crt`, `adapter.crt`, `adapter.key`.
fn certificates(directory: &Path) {
    fs::create_dir_all(directory).expect("a directory");
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let authority_certificate = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    fs::write(directory.join("ca.crt"), authority_certificate.pem()).expect("written");
    fs::write(directory.join("adapter.crt"), leaf.pem()).expect("written");
    fs::write(directory.join("adapter.key"), key.serialize_pem()).expect("written");
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
