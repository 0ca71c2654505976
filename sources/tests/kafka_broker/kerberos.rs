//! Logging in by Kerberos: a KDC of MIT's, and the broker's own Java, hold what is said to them against their idea of it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};
use windlass_decision::{Clock, FailureKind, Outcome};

use super::broker::Broker;
use super::tokens::Now;
use super::{DEADLINE, Pairs, failed, trigger_by, value};

/// A KDC of the realm RIG. Dropping it kills it; so does the end of the thread that started it.
pub struct Kdc {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Kdc {
    /// Starts one of its own and waits until it listens.
    pub async fn start(folder: PathBuf) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let child = spawn(&folder, port);
        let mut kdc = Self { folder, port, child };
        kdc.ready().await;
        kdc
    }

    async fn restart(&mut self) {
        self.child = spawn(&self.folder, self.port);
        self.ready().await;
    }

    async fn ready(&mut self) {
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.try_wait().expect("the KDC's state");
            assert!(ended.is_none() && Instant::now() < until, "no KDC ({ended:?}): {}", self.read("out.log"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("the KDC is killed");
        self.child.wait().expect("the KDC has ended");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "signal {name}");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    fn conf(&self) -> String {
        self.read("krb5.conf")
    }

    /// A keytab, in base64.
    fn keytab(&self, name: &str) -> String {
        BASE64.encode(&fs::read(self.folder.join(name)).expect("a keytab"))
    }

    /// How often it gave a ticket of the realm, and one of a service.
    fn given(&self) -> (usize, usize) {
        let log = self.read("kdc.log");
        let count = |of: &str| log.lines().filter(|line| line.contains(of) && line.contains(": ISSUE: ")).count();
        (count(" AS_REQ "), count(" TGS_REQ "))
    }

    /// Gives the broker's principal other keys, and the broker a keytab with those alone.
    fn change_the_brokers_keys(&self) {
        let new = self.folder.join("new.keytab");
        let status = Command::new("kadmin.local")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("KRB5_CONFIG", self.folder.join("krb5.conf"))
            .env("KRB5_KDC_PROFILE", self.folder.join("kdc.conf"))
            .args(["-r", "RIG", "ktadd", "-k"])
            .arg(&new)
            .arg("kafka/localhost")
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("kadmin.local runs").success());
        fs::rename(new, self.folder.join("kafka.keytab")).expect("renamed");
    }
}

impl Drop for Kdc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/brokers/kerberos/run.sh");
    fs::create_dir_all(folder).expect("a directory");
    let log = fs::File::create(folder.join("out.log")).expect("a log file");
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "bash"])
        .arg(script)
        .arg(folder)
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file"))
        .stderr(log)
        .spawn()
        .expect("the KDC's script runs")
}

/// The broker's time, so many seconds later.
#[derive(Debug, Default)]
struct Later(AtomicI64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        Now.now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// What one new reader says whose `keys` come besides those of a login as `reader`.
async fn read(clock: Arc<dyn Clock>, servers: &str, keys: Pairs<'_>) -> Outcome {
    let usual = [("topic", "orders"), ("sasl", "gssapi"), ("realm", "RIG"), ("username", "reader")];
    let keys: Vec<_> =
        usual.iter().filter(|(key, _)| !keys.iter().any(|(given, _)| given == key)).chain(keys).copied().collect();
    let (upstream, query) = trigger_by(clock, servers, "workers", &keys);
    let began = Instant::now();
    let outcome = upstream.read(&[query]).await.pop().expect("an outcome");
    assert!(began.elapsed() <= DEADLINE, "{:?}", began.elapsed());
    upstream.close().await;
    let shown = format!("{outcome:?} {upstream:?}");
    assert!(!shown.contains("secret") && !shown.contains("BQIAAA"), "{shown}");
    outcome
}

pub async fn a_ticket_is_asked_for_shown_and_kept(broker: &mut Broker) {
    let servers = broker.kerberos();
    let alone = super::read(&servers, "workers", &[("topic", "orders")]).await;
    assert_eq!(failed(&alone).0, FailureKind::Unreachable, "the listener takes nobody without a login");
    let ip = servers.replace("localhost", "127.0.0.1");
    let kdc = broker.kdc.as_mut().expect("a KDC");
    who_proves_itself_is_let_in(kdc, &servers).await;
    who_is_not_let_in_is_told_why(kdc, &servers, &ip).await;
    a_ticket_is_used_until_it_ends(kdc, &servers).await;
    a_broker_with_another_key_is_shown_a_new_ticket(kdc, &servers).await;
}

async fn who_proves_itself_is_let_in(kdc: &Kdc, servers: &str) {
    let (conf, keytab) = (kdc.conf(), kdc.keytab("reader.keytab"));
    let conf = ("kerberosConfig", conf.as_str());
    let before = kdc.given();
    let ways: [Pairs<'_>; 3] = [
        &[conf, ("keytab", &keytab)],
        &[conf, ("password", "reader-secret"), ("kerberosServiceName", "kafka"), ("kerberosDisableFAST", "true")],
        &[conf, ("keytab", &keytab), ("username", "reader")],
    ];
    for keys in ways {
        let began = Instant::now();
        assert_eq!(value(&read(Arc::new(Now), servers, keys).await), 4.0);
        println!("a login with a new ticket, and a reading: {:?}", began.elapsed());
    }
    assert_eq!(kdc.given(), (before.0 + 3, before.1 + 3));
    // Each kind of key by itself.
    for (kind, name) in [(17, "aes128"), (18, "aes256"), (19, "aes128-sha2"), (20, "aes256-sha2")] {
        let keytab = only(&fs::read(kdc.folder.join("reader.keytab")).expect("a keytab"), kind);
        let outcome = read(Arc::new(Now), servers, &[conf, ("keytab", &BASE64.encode(&keytab))]).await;
        assert!(matches!(outcome, Outcome::Ok(_)), "{name}: {outcome:?}");
    }
    // A KDC that is not there, and one that hangs, cost time but no figure.
    let hangs = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hangs = hangs.local_addr().expect("an address").port();
    let several = conf.1.replace("kdc = ", &format!("kdc = 127.0.0.1:1\n kdc = 127.0.0.1:{hangs}\n kdc = "));
    let outcome = read(Arc::new(Now), servers, &[("kerberosConfig", &several), ("keytab", &keytab)]).await;
    assert_eq!(value(&outcome), 4.0);
}

/// The keytab with the entries of one kind of key only.
fn only(keytab: &[u8], kind: u8) -> Vec<u8> {
    let (mut kept, mut rest) = (keytab[..2].to_vec(), &keytab[2..]);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (entry, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        // Parts, realm, name, its kind, the time, the version: then the kind of the key.
        if entry[2 + 5 + 8 + 4 + 4 + 1..][..2] == [0, kind] {
            kept.extend([&length[..], entry].concat());
        }
        rest = after;
    }
    kept
}

async fn who_is_not_let_in_is_told_why(kdc: &mut Kdc, servers: &str, ip: &str) {
    use FailureKind::{BadAnswer, Timeout, Unauthorised};
    let conf = kdc.conf();
    let conf = ("kerberosConfig", conf.as_str());
    let password = ("password", "reader-secret");
    let other_keytab = only(&fs::read(kdc.folder.join("reader.keytab")).expect("a keytab"), 18);
    // The last byte of the key, which the version of four bytes follows.
    let mut wrong_keytab = other_keytab;
    let place = wrong_keytab.len() - 5;
    wrong_keytab[place] ^= 1;
    let wrong_keytab = BASE64.encode(&wrong_keytab);
    let elsewhere = format!("{}[domain_realm]\n localhost = OTHER\n", conf.1);
    let table: [(&str, Pairs<'_>, FailureKind, &str, &str); 9] = [
        (servers, &[conf, ("password", "other")], Unauthorised, "password", "refused the password of reader@RIG"),
        (servers, &[conf, ("keytab", &wrong_keytab)], Unauthorised, "keytab", "refused the key of reader@RIG"),
        (
            servers,
            &[conf, password, ("username", "nobody")],
            Unauthorised,
            "username",
            "does not know the principal nobody@RIG",
        ),
        (servers, &[conf, password, ("username", "locked")], Unauthorised, "username", "is locked"),
        (servers, &[conf, password, ("username", "expired")], Unauthorised, "username", "has expired"),
        (servers, &[conf, password, ("username", "weak")], Unauthorised, "username", "has no AES key"),
        (
            servers,
            &[conf, password, ("kerberosServiceName", "broker")],
            BadAnswer,
            "kerberosServiceName",
            "principal broker/localhost@RIG",
        ),
        (ip, &[conf, password], BadAnswer, "kerberosServiceName", "principal kafka/127.0.0.1@RIG"),
        (servers, &[("kerberosConfig", &elsewhere), password], Unauthorised, "realm", "belongs to the realm OTHER"),
    ];
    for (servers, keys, kind, field, words) in table {
        let outcome = read(Arc::new(Now), servers, keys).await;
        let Outcome::Failed(failure) = &outcome else { panic!("{words}: {outcome:?}") };
        assert!(failure.kind == kind && failure.message.contains(words), "{words}: {failure:?}");
        assert_eq!(failure.field, Some(&*format!("metadata.{field}")));
    }
    for seconds in [-3600, 3600] {
        let outcome = read(Arc::new(Later(seconds.into())), servers, &[conf, password]).await;
        let (kind, message) = failed(&outcome);
        assert!(kind == Unauthorised && message.contains("clock") && message.contains("NTP"), "{message}");
    }
    kdc.signal("STOP");
    let outcome = read(Arc::new(Now), servers, &[conf, password]).await;
    kdc.signal("CONT");
    let (kind, message) = failed(&outcome);
    assert!(kind == Timeout && message.contains("no KDC of RIG"), "{message}");
}

async fn a_ticket_is_used_until_it_ends(kdc: &mut Kdc, servers: &str) {
    let clock = Arc::<Later>::default();
    let (conf, keytab) = (kdc.conf(), kdc.keytab("short.keytab"));
    let keys = [
        ("topic", "orders"),
        ("sasl", "gssapi"),
        ("realm", "RIG"),
        ("username", "short"),
        ("kerberosConfig", &conf),
        ("keytab", &keytab),
    ];
    let (upstream, query) = trigger_by(clock.clone(), servers, "workers", &keys);
    let read = async || {
        // Over a new connection.
        upstream.close().await;
        upstream.read(from_ref(&query)).await.pop().expect("an outcome")
    };
    let (logins, tickets) = kdc.given();
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(value(&read().await), 4.0);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!("a login with a ticket that is there, and a reading: {:?} (median of 20)", times[10]);
    assert_eq!(kdc.given(), (logins + 1, tickets + 1), "the KDC is asked once, for five minutes");
    // A fifth before its end it is replaced.
    clock.0.store(245, Ordering::Relaxed);
    assert_eq!(value(&read().await), 4.0);
    assert_eq!(kdc.given(), (logins + 2, tickets + 2));
    // If the KDC is there: without, the old one is used as long as it is good.
    kdc.kill();
    assert_eq!(value(&read().await), 4.0);
    clock.0.store(299, Ordering::Relaxed);
    let outcome = read().await;
    let (kind, message) = failed(&outcome);
    assert!(kind == FailureKind::Unreachable && message.contains("cannot reach the KDC of RIG"), "{message}");
    kdc.restart().await;
    clock.0.store(200, Ordering::Relaxed);
    assert_eq!(value(&read().await), 4.0);
    upstream.close().await;
}

async fn a_broker_with_another_key_is_shown_a_new_ticket(kdc: &Kdc, servers: &str) {
    let conf = kdc.conf();
    let keys = [
        ("topic", "orders"),
        ("sasl", "gssapi"),
        ("realm", "RIG"),
        ("username", "reader"),
        ("kerberosConfig", &*conf),
        ("password", "reader-secret"),
    ];
    let (upstream, query) = trigger_by(Arc::new(Now), servers, "workers", &keys);
    assert_eq!(value(&upstream.read(from_ref(&query)).await[0]), 4.0);
    kdc.change_the_brokers_keys();
    upstream.close().await;
    assert_eq!(value(&upstream.read(from_ref(&query)).await[0]), 4.0);
    upstream.close().await;
}
