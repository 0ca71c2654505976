//! When a ticket is good, and a KDC within the test that lies: real ones do not.

use std::sync::Mutex as Shared;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use windlass_decision::FailureKind;

use super::super::super::config::Endpoint;
use super::super::der;
use super::*;
use crate::Secret;

impl Ticket {
    /// A ticket of this key, for tests.
    pub(in super::super) fn of(key: Key, client: Principal) -> Self {
        let (start, end) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        Self { bytes: der::application(1, b"of a test"), key, client, start, end }
    }
}

#[derive(Debug, Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).expect("a time")
    }
}

/// What a KDC makes of its answers.
#[derive(Clone)]
struct Answer {
    /// The principal it answers about, and the service the ticket is for; `None` for what was asked.
    client: Option<&'static str>,
    service: Option<&'static str>,
    /// What is added to the nonce.
    nonce: i64,
    /// The kind of the session key.
    etype: i64,
    /// When the ticket ends, in seconds.
    end: i64,
    /// The password that it knows.
    password: &'static str,
    /// A refusal of tickets that are shown.
    refuses: Option<i64>,
}

const HONEST: Answer =
    Answer { client: None, service: None, nonce: 0, etype: 18, end: 1000, password: "S3CR3T", refuses: None };

const SESSION: [u8; 32] = [7; 32];

fn name(parts: &[&str]) -> Vec<u8> {
    let parts: Vec<_> = parts.iter().map(|part| der::string(part)).collect();
    der::sequence(&[der::field(0, &der::integer(1)), der::field(1, &der::sequence(&parts))])
}

impl Answer {
    /// A KDC that asks for no proof beforehand.
    fn to(&self, request: &[u8], begin: i64) -> Vec<u8> {
        let is_tgs = der::Der::new(request).is_application(12);
        if let Some(code) = self.refuses.filter(|_| is_tgs) {
            let fields = [
                der::field(0, &der::integer(5)),
                der::field(1, &der::integer(30)),
                der::field(4, &der::time(Timestamp::UNIX_EPOCH)),
                der::field(5, &der::integer(0)),
                der::field(6, &der::integer(code)),
                der::field(9, &der::string("RIG")),
                der::field(10, &name(&["x"])),
            ];
            return der::application(30, &der::sequence(&fields));
        }
        let mut request = der::Der::new(request).application(if is_tgs { 12 } else { 10 }).expect("a request");
        let (_, _, _) = (request.field(1), request.field(2), request.optional(3));
        let mut body = request.field(4).expect("a body").sequence().expect("a sequence");
        let (_, _, _) = (body.field(0), body.optional(1), body.field(2));
        let mut asked = body.field(3).expect("a service").sequence().expect("a name");
        let _kind = asked.field(0);
        let asked = asked.field(1).expect("parts").sequence().expect("parts").each(der::Der::string).expect("text");
        let _till = body.field(5);
        let nonce = body.field(7).expect("a nonce").integer().expect("a number");
        let service: Vec<_> = asked.iter().map(String::as_str).collect();
        let service = self.service.map_or(service, |service| service.split('/').collect());
        let session = [der::field(0, &der::integer(self.etype)), der::field(1, &der::octets(&SESSION))];
        let at = |second| der::time(Timestamp::from_second(second).expect("a time"));
        let granted = [
            der::field(0, &der::sequence(&session)),
            der::field(1, &der::sequence(&[])),
            der::field(2, &der::integer(nonce + self.nonce)),
            der::field(4, &der::flags(0)),
            der::field(5, &at(begin)),
            der::field(7, &at(begin + self.end)),
            der::field(9, &der::string("RIG")),
            der::field(10, &name(&service)),
        ];
        let granted = der::application(if is_tgs { 26 } else { 25 }, &der::sequence(&granted));
        let (key, usage) = if is_tgs {
            (Key::new(Etype::Aes256Sha1, &SESSION).expect("a key"), Usage::TgsReply)
        } else {
            let key = Key::of_password(Etype::Aes256Sha1, self.password.as_bytes(), b"RIGreader", None);
            (key.expect("a key"), Usage::AsReply)
        };
        let sealed = Sealed::with(&key, key.encrypt(usage, &granted).expect("sealed"));
        let number = if is_tgs { 13 } else { 11 };
        let fields = [
            der::field(0, &der::integer(5)),
            der::field(1, &der::integer(number.into())),
            der::field(3, &der::string("RIG")),
            der::field(4, &name(&[self.client.unwrap_or("reader")])),
            der::field(5, &der::application(1, b"a ticket")),
            der::field(6, &sealed.write()),
        ];
        der::application(number, &der::sequence(&fields))
    }
}

/// A KDC that answers so, and what it was asked for: `true` for a service's ticket.
struct Kdc {
    answer: Arc<Shared<Answer>>,
    asked: Arc<Shared<Vec<bool>>>,
    clock: Arc<Hand>,
    tickets: Tickets,
}

impl Kdc {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = Endpoint { host: "127.0.0.1".to_owned(), port: listener.local_addr().expect("an address").port() };
        let (answer, asked, clock) =
            (Arc::new(Shared::new(answer)), Arc::<Shared<Vec<bool>>>::default(), Arc::<Hand>::default());
        let (answers, heard, time) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&clock));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let length = stream.read_u32().await.expect("a length");
                let mut request = vec![0; length as usize];
                stream.read_exact(&mut request).await.expect("a request");
                heard.lock().expect("no panic").push(der::Der::new(&request).is_application(12));
                let answer = answers.lock().expect("no panic").to(&request, time.0.load(Ordering::Relaxed));
                let _ = stream.write_all(&[&(answer.len() as u32).to_be_bytes()[..], &answer].concat()).await;
            }
        });
        let login = Kerberos {
            username: "reader".to_owned(),
            realm: "RIG".to_owned(),
            proof: Proof::Password(Secret::new("S3CR3T")),
            kdcs: vec![at],
            domains: [(".other.example.com".to_owned(), "OTHER".to_owned())].into(),
            service: "kafka".to_owned(),
        };
        let network = Arc::new(NetworkPolicy::default().allow_loopback(true));
        let tickets = Tickets::new(login, network, Arc::<Hand>::clone(&clock));
        Self { answer, asked, clock, tickets }
    }

    async fn ticket(&self, host: &str) -> Result<bool, Problem> {
        self.tickets.for_host(host, Duration::from_secs(30)).await.map(|(_, is_new)| is_new)
    }

    fn asked(&self) -> Vec<bool> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

#[tokio::test]
async fn each_broker_has_a_ticket_which_is_kept() {
    let kdc = Kdc::start(HONEST).await;
    assert!(kdc.ticket("a").await.expect("a ticket"));
    assert!(kdc.ticket("b").await.expect("a ticket"));
    assert_eq!(kdc.asked(), [false, true, true]);
    for host in ["a", "b"] {
        assert!(!kdc.ticket(host).await.expect("a ticket"));
    }
    kdc.tickets.forget("a").await;
    assert!(kdc.ticket("a").await.expect("a ticket"));
    assert!(!kdc.ticket("b").await.expect("a ticket"));
    assert_eq!(kdc.asked(), [true]);
    let other = kdc.ticket("x.other.example.com").await.expect_err("of another realm");
    assert!(other.message.contains("realm OTHER"), "{other:?}");
    assert_eq!(kdc.asked(), [false; 0]);
}

#[tokio::test]
async fn a_ticket_is_replaced_before_it_ends_and_used_until_then() {
    let kdc = Kdc::start(HONEST).await;
    let at = |second| kdc.clock.0.store(second, Ordering::Relaxed);
    assert!(kdc.ticket("a").await.expect("a ticket"));
    at(799);
    assert!(!kdc.ticket("a").await.expect("a ticket"));
    kdc.asked();
    at(800);
    assert!(kdc.ticket("a").await.expect("a ticket"));
    assert_eq!(kdc.asked(), [false, true], "a fifth of its life before its end, as is the realm's");
    // While the KDC says no, the old one is used, and the KDC is asked every now and then.
    at(1700);
    kdc.answer.lock().expect("no panic").password = "another";
    for second in [1700, 1710, 1729] {
        at(second);
        assert!(!kdc.ticket("a").await.expect("the old ticket"));
    }
    assert_eq!(kdc.asked(), [false]);
    at(1731);
    assert!(!kdc.ticket("a").await.expect("the old ticket"));
    assert_eq!(kdc.asked(), [false]);
    at(1770);
    let problem = kdc.ticket("a").await.expect_err("it has ended but for a moment");
    assert!(problem.kind == FailureKind::Unauthorised && problem.field == Some("metadata.password"), "{problem:?}");
    kdc.answer.lock().expect("no panic").password = HONEST.password;
    assert!(kdc.ticket("a").await.expect("a ticket"));
}

#[tokio::test]
async fn a_ticket_that_the_kdc_does_not_know_any_more_is_replaced_once() {
    let kdc = Kdc::start(HONEST).await;
    kdc.ticket("a").await.expect("a ticket");
    kdc.asked();
    kdc.answer.lock().expect("no panic").refuses = Some(31);
    let problem = kdc.ticket("b").await.expect_err("refused");
    assert_eq!(kdc.asked(), [true, false, true], "its own ticket may be to blame");
    assert_eq!(problem.kind, FailureKind::BadAnswer);
    kdc.answer.lock().expect("no panic").refuses = Some(7);
    let problem = kdc.ticket("b").await.expect_err("refused");
    assert_eq!(kdc.asked(), [true], "the service is to blame");
    assert!(problem.message.contains("principal kafka/b@RIG"), "{problem:?}");
    assert!(!kdc.ticket("a").await.expect("a ticket"));
}

#[tokio::test]
async fn a_kdc_that_lies_gives_no_ticket() {
    let lies = [
        Answer { client: Some("root"), ..HONEST },
        Answer { service: Some("kafka/b"), ..HONEST },
        Answer { service: Some("krbtgt/OTHER"), ..HONEST },
        Answer { nonce: 1, ..HONEST },
        Answer { etype: 23, ..HONEST },
        Answer { etype: 17, ..HONEST },
        Answer { end: 30, ..HONEST },
        Answer { end: -5, ..HONEST },
        Answer { password: "another", ..HONEST },
    ];
    for (place, lie) in lies.into_iter().enumerate() {
        // From the first question on, or only when the realm's ticket was given.
        let kdc = Kdc::start(lie.clone()).await;
        kdc.ticket("a").await.expect_err("a lie");
        assert_eq!(kdc.asked(), [false], "number {place}");
        let kdc = Kdc::start(HONEST).await;
        kdc.ticket("a").await.expect("a ticket");
        *kdc.answer.lock().expect("no panic") = lie.clone();
        if lie.password == HONEST.password && lie.service != Some("kafka/b") {
            kdc.ticket("b").await.expect_err("a lie");
        }
    }
}

#[tokio::test]
async fn several_that_begin_at_once_ask_once() {
    let kdc = Kdc::start(HONEST).await;
    let all = futures::future::join_all((0..20).map(|_| kdc.ticket("a"))).await;
    assert_eq!(all.into_iter().filter(|one| matches!(one, Ok(true))).count(), 1);
    assert_eq!(kdc.asked(), [false, true]);
}
