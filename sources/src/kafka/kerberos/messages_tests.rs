//! What is asked, byte for byte, and what may be answered.

use proptest::prelude::*;

use super::super::keytab::Etype;
use super::*;

fn reader() -> Principal {
    Principal::user("reader/host", "RIG")
}

#[test]
fn a_request_is_what_the_standard_says() {
    let body = body(Some(&reader()), &Principal::service("krbtgt", "RIG", "RIG"), 0x7fff_ffff, &[18, 17]);
    let request = as_request(&[(2, vec![7])], &body);
    // Each with its length: the application's sequence, version, kind, data, body.
    let head = [0x6a, 0x81, 0x8b, 0x30, 0x81, 0x88, 0xa1, 3, 2, 1, 5, 0xa2, 3, 2, 1, 10];
    let data = [0xa3, 14, 0x30, 12, 0x30, 10, 0xa1, 3, 2, 1, 2, 0xa2, 3, 4, 1, 7];
    assert_eq!(request[..16], head);
    assert_eq!(request[16..32], data);
    assert_eq!(request[32..34], [0xa4, 0x6c]);
    let mut fields = Der::new(&request[34..]).sequence().expect("a body");
    assert_eq!(fields.field(0).expect("options").rest(), [3, 5, 0, 0, 0, 0, 0]);
    let mut name = fields.field(1).expect("a client").sequence().expect("a name");
    assert_eq!(name.field(0).expect("a kind").integer(), Ok(1));
    let parts = name.field(1).expect("parts").sequence().expect("parts").each(Der::string);
    assert_eq!(parts.expect("text"), ["reader", "host"]);
    assert_eq!(fields.field(2).expect("a realm").string().as_deref(), Ok("RIG"));
    let _service = fields.field(3).expect("a service");
    assert_eq!(fields.field(5).expect("an end").time(), Ok(Timestamp::UNIX_EPOCH), "as long as may be");
    assert_eq!(fields.field(7).expect("a nonce").integer(), Ok(0x7fff_ffff));
    let etypes = fields.field(8).expect("kinds").sequence().expect("kinds").each(Der::integer);
    assert_eq!(etypes, Ok(vec![18, 17]));
    assert!(fields.is_empty());
}

/// What a KDC answers, with a hint and a text.
fn refusal() -> Vec<u8> {
    let info = der::sequence(&[
        der::sequence(&[der::field(0, &der::integer(18)), der::field(1, &der::string("RIGreader"))]),
        der::sequence(&[der::field(0, &der::integer(23)), der::field(2, &der::octets(&[0, 0, 16, 0]))]),
    ]);
    let one =
        |kind, value: &[u8]| der::sequence(&[der::field(1, &der::integer(kind)), der::field(2, &der::octets(value))]);
    let data = der::sequence(&[one(19, &info), one(2, &[])]);
    let fields = [
        der::field(0, &der::integer(5)),
        der::field(1, &der::integer(30)),
        der::field(2, &der::time(Timestamp::UNIX_EPOCH)),
        der::field(4, &der::time(Timestamp::UNIX_EPOCH)),
        der::field(5, &der::integer(0)),
        der::field(6, &der::integer(25)),
        der::field(9, &der::string("RIG")),
        der::field(10, &reader().name()),
        der::field(11, &der::string("NEEDED_PREAUTH")),
        der::field(12, &der::octets(&data)),
    ];
    der::application(30, &der::sequence(&fields))
}

#[test]
fn a_refusal_says_how_to_prove_oneself() {
    let Ok(Reply::Refused(refusal)) = read_reply(&refusal(), false) else { panic!("no refusal") };
    let hint = |etype, salt: Option<&str>, parameters: Option<&[u8]>| Hint {
        etype,
        salt: salt.map(str::to_owned),
        parameters: parameters.map(<[u8]>::to_vec),
    };
    assert_eq!((refusal.code, &*refusal.said), (25, "NEEDED_PREAUTH"));
    assert_eq!(refusal.hints, [hint(18, Some("RIGreader"), None), hint(23, None, Some(&[0, 0, 16, 0]))]);
    assert_eq!(refusal.offered, [19, 2]);
}

#[test]
fn an_answer_to_another_question_is_none() {
    let reply = der::application(AS_REP, &der::sequence(&[]));
    assert!(read_reply(&reply, false).is_err() && read_reply(&reply, true).is_err());
    assert!(read_key(Der::new(&write_key(&Key::random(Etype::Aes128Sha1).expect("a key")))).expect("read").is_some());
    let unknown = der::sequence(&[der::field(0, &der::integer(23)), der::field(1, &der::octets(&[0; 16]))]);
    assert!(read_key(Der::new(&unknown)).expect("read").is_none());
}

proptest! {
    #[test]
    fn nothing_that_is_answered_makes_it_panic(bytes: Vec<u8>, place: prop::sample::Index, value: u8) {
        let mut changed = refusal();
        let place = place.index(changed.len());
        changed[place] = value;
        for bytes in [bytes, changed] {
            let _ = (read_reply(&bytes, false), read_reply(&bytes, true), read_refusal(&bytes));
            let _ = (read_granted(&bytes), read_ap_reply(&bytes), read_proof(&bytes));
        }
    }
}
