//! A private Prometheus on loopback that scrapes what a test exposes: started, frozen, thawed, killed and restarted by the test.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tempfile::TempDir;

const PROGRAM: &str = "/usr/bin/prometheus";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What is scraped: a page that the test writes.
#[derive(Clone, Default)]
pub struct Page(Arc<Mutex<String>>);

impl Page {
    pub fn write(&self, text: &str) {
        text.clone_into(&mut self.0.lock().expect("no test panicked with it"));
    }

    /// Serves it; gives `host:port`.
    pub async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let page = self.clone();
        let app = Router::new()
            .route("/metrics", get(move || async move { page.0.lock().expect("no test panicked with it").clone() }));
        tokio::spawn(async move { axum::serve(listener, app).await });
        address
    }
}

/// How a server is guarded.
pub enum Guard {
    /// Plain HTTP, open to everybody.
    Open,
    /// TLS with a private authority, a client certificate of it, and user aladdin with password sesame.
    Closed,
}

/// A running server. Dropping it kills it; so does the end of the thread that started it.
pub struct Server {
    directory: TempDir,
    pub port: u16,
    guard: Guard,
    child: Child,
}

impl Server {
    pub async fn start(target: &str, guard: Guard) -> Self {
        assert!(Path::new(PROGRAM).exists(), "prometheus is missing: apt-get install prometheus");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let scrape = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs: [{{job_name: test, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(directory.path().join("prometheus.yml"), scrape).expect("written");
        let web = match guard {
            Guard::Open => String::new(),
            Guard::Closed => {
                certificates(directory.path());
                "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, \
                 client_auth_type: RequireAndVerifyClientCert}\n\
                 basic_auth_users: {aladdin: '$2b$04$abcdefghijklmnopqrstuuinwY/tkBVrn3xrxQI/TgnMHhkvl85RW'}\n"
                    .to_owned()
            }
        };
        fs::write(directory.path().join("web.yml"), web).expect("written");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let child = spawn(directory.path(), port);
        let mut server = Self { directory, port, guard, child };
        server.ready().await;
        server
    }

    /// `http(s)://localhost:port`.
    pub fn address(&self) -> String {
        let scheme = if matches!(self.guard, Guard::Open) { "http" } else { "https" };
        format!("{scheme}://localhost:{}", self.port)
    }

    /// A file of the guard's, as PEM: `ca.crt`, `client.crt`, `client.key`.
    pub fn pem(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).expect("a file of the guard's")
    }

    /// Starts it again on the same port, with the same data.
    pub async fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.port);
        self.ready().await;
    }

    /// Stops it in its tracks, as a machine that hangs: all its threads stand when this returns.
    pub async fn freeze(&self) {
        self.signal("STOP");
        let until = Instant::now() + Duration::from_secs(10);
        while !fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("procfs").contains(") T ") {
            assert!(Instant::now() < until, "not frozen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
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
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.child.try_wait().expect("the server's state");
            assert!(ended.is_none() && Instant::now() < until, "prometheus did not start ({ended:?}):\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path, port: u16) -> Child {
    let log = fs::File::create(directory.join("log")).expect("a log file");
    let of = |name: &str| directory.join(name).display().to_string();
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", PROGRAM])
        .args([format!("--config.file={}", of("prometheus.yml")), format!("--storage.tsdb.path={}", of("data"))])
        .args([format!("--web.config.file={}", of("web.yml")), format!("--web.listen-address=127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log)
        .spawn()
        .expect("prometheus runs")
}

/// An authority, and certificates for localhost and for a client.
fn certificates(directory: &Path) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let certificate = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(authority, authority_key);
    fs::write(directory.join("ca.crt"), certificate.pem()).expect("written");
    let usages = [rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    for (name, usage) in ["server", "client"].into_iter().zip(usages) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        leaf.extended_key_usages = vec![usage];
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        fs::write(directory.join(format!("{name}.crt")), leaf.pem()).expect("written");
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).expect("written");
    }
}
