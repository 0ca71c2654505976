//! KDCs that are none, that hang and that promise more than they give; and that one of several is enough.

use tokio::net::TcpListener;
use windlass_decision::FailureKind;

use super::super::config::Proof;
use super::super::der;
use super::*;
use crate::Secret;

/// What a listener does with whoever connects.
#[derive(Clone)]
enum Does {
    Hangs,
    HangsUp,
    Says(Vec<u8>),
}

async fn listener(does: Does) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u32().await.expect("a length");
            let mut request = vec![0; length as usize];
            stream.read_exact(&mut request).await.expect("a request");
            assert_eq!(request, b"request");
            match &does {
                Does::Hangs => held.push(stream),
                Does::HangsUp => {}
                Does::Says(bytes) => stream.write_all(bytes).await.expect("said"),
            }
        }
    });
    Endpoint { host: "127.0.0.1".to_owned(), port }
}

fn framed(message: &[u8]) -> Does {
    Does::Says([&(message.len() as u32).to_be_bytes()[..], message].concat())
}

fn refusal(code: i64) -> Does {
    let fields = [
        der::field(0, &der::integer(5)),
        der::field(1, &der::integer(30)),
        der::field(4, &der::time(jiff::Timestamp::UNIX_EPOCH)),
        der::field(5, &der::integer(0)),
        der::field(6, &der::integer(code)),
        der::field(9, &der::string("RIG")),
        der::field(10, &der::sequence(&[])),
    ];
    framed(&der::application(30, &der::sequence(&fields)))
}

fn login(kdcs: Vec<Endpoint>) -> Kerberos {
    Kerberos {
        username: "reader".to_owned(),
        realm: "RIG".to_owned(),
        proof: Proof::Password(Secret::new("S3CR3T")),
        kdcs,
        domains: Default::default(),
        service: "kafka".to_owned(),
    }
}

/// The place of the KDC that answered and the code it refuses with.
async fn asked(kdcs: Vec<Endpoint>, first: usize, network: &NetworkPolicy) -> Result<(usize, i64), Problem> {
    asked_for(Duration::from_secs(60), kdcs, first, network).await
}

async fn asked_for(
    time: Duration,
    kdcs: Vec<Endpoint>,
    first: usize,
    network: &NetworkPolicy,
) -> Result<(usize, i64), Problem> {
    let answer = ask(&login(kdcs), network, first, (b"request", false), Instant::now() + time).await;
    answer.map(|(place, reply)| match reply {
        Reply::Refused(refusal) => (place, refusal.code),
        Reply::Given(_) => panic!("no refusal"),
    })
}

#[tokio::test]
async fn what_is_no_kdc_is_told() {
    let loopback = NetworkPolicy::default().allow_loopback(true);
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
    let nobody = Endpoint { host: "127.0.0.1".to_owned(), port: free };
    let more = |length: u32, bytes: &[u8]| Does::Says([&length.to_be_bytes()[..], bytes].concat());
    let table = [
        (nobody, FailureKind::Unreachable, "cannot reach the KDC"),
        (listener(Does::HangsUp).await, FailureKind::BadAnswer, "does not answer as a KDC"),
        (listener(Does::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await, FailureKind::BadAnswer, "as a KDC"),
        (listener(framed(b"")).await, FailureKind::BadAnswer, "as a KDC"),
        (listener(framed(b"\x6b\x84\xff\xff\xff\xff")).await, FailureKind::BadAnswer, "as a KDC"),
        (listener(more(MAX_ANSWER + 1, b"x")).await, FailureKind::BadAnswer, "as a KDC"),
        (listener(more(MAX_ANSWER, b"x")).await, FailureKind::BadAnswer, "as a KDC"),
        (listener(refusal(UNAVAILABLE)).await, FailureKind::Unreachable, "not available at present"),
    ];
    for (at, kind, words) in table {
        let problem = asked(vec![at.clone()], 0, &loopback).await.expect_err("no answer");
        assert!(problem.kind == kind && problem.message.contains(words), "{problem:?}");
        assert!(problem.field == Some(problem::CONF) && problem.message.contains(&at.to_string()), "{problem:?}");
    }
    let hangs = listener(Does::Hangs).await;
    let problem = asked_for(2 * PATIENCE, vec![hangs], 0, &loopback).await.expect_err("no answer");
    assert!(problem.kind == FailureKind::Timeout && problem.message.contains("answered in time"), "{problem:?}");
    // As for any other address: whoever writes a trigger reaches no more than the operator may.
    let at = listener(refusal(6)).await;
    let problem = asked(vec![at], 0, &NetworkPolicy::default()).await.expect_err("denied");
    assert!(problem.kind == FailureKind::Unreachable && problem.message.contains("loopback"), "{problem:?}");
}

#[tokio::test]
async fn one_of_several_is_enough() {
    let loopback = NetworkPolicy::default().allow_loopback(true);
    let hangs = listener(Does::Hangs).await;
    let nobody = Endpoint { host: "127.0.0.1".to_owned(), port: 1 };
    let stranger = listener(framed(b"x")).await;
    let tired = listener(refusal(UNAVAILABLE)).await;
    let good = listener(refusal(6)).await;
    let all = vec![hangs.clone(), nobody.clone(), stranger.clone(), tired, good.clone()];
    for first in 0..5 {
        let answer = asked(all.clone(), first, &loopback).await;
        assert_eq!(answer.expect("an answer"), (4, 6), "from {first}");
    }
    // One that answers at last is still heard, when others have been asked meanwhile.
    let late = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = Endpoint { host: "127.0.0.1".to_owned(), port: late.local_addr().expect("an address").port() };
    let answers = async {
        let (mut stream, _) = late.accept().await.expect("a connection");
        tokio::time::sleep(2 * PATIENCE).await;
        let Does::Says(bytes) = refusal(6) else { panic!("says nothing") };
        stream.write_all(&bytes).await.expect("said");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = asked(vec![at, hangs, nobody], 0, &loopback) => assert_eq!(answer.expect("an answer"), (0, 6)),
        () = answers => {}
    }
    let worst = asked(vec![stranger, listener(Does::HangsUp).await], 0, &loopback).await.expect_err("none");
    assert_eq!(worst.kind, FailureKind::BadAnswer);
}
