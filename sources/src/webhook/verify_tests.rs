//! The examples of the specifications, and everything that is one step beside them.

use super::*;
use crate::Secret;
use crate::webhook::Query;

const GITHUB: &str = "It's a Secret to Everybody";
const STANDARD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SENT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const GOOD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn endpoint(signature: Signature, secrets: &[&str]) -> Connection {
    Connection {
        namespace: "shop".into(),
        name: "orders".into(),
        signature,
        secrets: secrets.iter().map(|secret| Secret::new(*secret)).collect(),
        id_header: None,
        tolerance: Duration::from_secs(300),
        max_body: 1 << 20,
        query: Query::Count(Duration::from_secs(60)),
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn hub(secrets: &[&str], values: &[&str], body: &[u8]) -> bool {
    let pairs: Vec<_> = values.iter().map(|value| ("X-Hub-Signature-256", *value)).collect();
    is_genuine(&endpoint(Signature::Github, secrets), &headers(&pairs), body, 0)
}

#[test]
fn githubs_own_example() {
    // docs.github.com, "Validating webhook deliveries".
    let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let body = b"Hello, World!";
    assert!(hub(&[GITHUB], &[good], body));
    assert!(hub(&[GITHUB], &[&good.replace("757107ea", "757107EA")], body), "hexadecimal in capitals");
    assert!(hub(&["other", GITHUB], &[good], body) && hub(&[GITHUB, "other"], &[good], body), "a rotation");
    assert!(!hub(&["other"], &[good], body) && !hub(&[], &[good], body));
    assert!(!hub(&[GITHUB], &[good], b"Hello, World") && !hub(&[GITHUB], &[good], b""));
    let bad =
        ["", "sha256=", &good[7..], &good[..good.len() - 2], &format!("{good}00"), &good.replace("sha256", "sha1")];
    for bad in bad {
        assert!(!hub(&[GITHUB], &[bad], body), "{bad}");
    }
    assert!(!hub(&[GITHUB], &[], body), "no signature");
    assert!(!hub(&[GITHUB], &[good, good], body), "two headers: which one counts is nobody's guess");
}

#[test]
fn one_bit_off_is_wrong() {
    let good = HEXLOWER_PERMISSIVE.decode(b"757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17").unwrap();
    for bit in 0..256 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let written = format!("sha256={}", HEXLOWER_PERMISSIVE.encode(&bad));
        assert!(!hub(&[GITHUB], &[&written], b"Hello, World!"), "bit {bit}");
    }
}

#[test]
fn rfc_4231_cases_1_and_2() {
    let first = "sha256=b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
    assert!(hub(&["\u{b}".repeat(20).as_str()], &[first], b"Hi There"));
    let second = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert!(hub(&["Jefe"], &[second], b"what do ya want for nothing?"));
}

fn sent(secrets: &[&str], id: &str, time: &str, signature: &str, now: i64) -> bool {
    let headers = headers(&[("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)]);
    is_genuine(&endpoint(Signature::Standard, secrets), &headers, BODY, now)
}

#[test]
fn the_example_of_standard_webhooks() {
    // standard-webhooks/libraries, the test that all of them share.
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let time = SENT.to_string();
    let good = |signature: &str, now| sent(&[STANDARD], id, &time, signature, now);
    assert!(good(GOOD, SENT));
    assert!(sent(&[&STANDARD[6..]], id, &time, GOOD, SENT), "without what it begins with");
    assert!(sent(&["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", STANDARD], id, &time, GOOD, SENT), "a rotation");
    // Several signatures, of which one fits; those of another version are passed over.
    assert!(good(&format!("v1,AAAA {GOOD}"), SENT) && good(&format!("{GOOD} v1a,AAAA"), SENT));
    assert!(good(&format!("v1,??? v2,x {GOOD}"), SENT));
    for bad in ["", "v1,", "v1", &GOOD[3..], &GOOD.replace("v1,", "v1a,"), &GOOD.replace("g0hM", "h0hM")] {
        assert!(!good(bad, SENT), "{bad}");
    }
    for (now, fits) in [(300, true), (-300, true), (301, false), (-301, false), (600, false)] {
        assert_eq!(good(GOOD, SENT + now), fits, "{now} s after");
    }
    assert!(!sent(&[STANDARD], "msg_other", &time, GOOD, SENT), "the id is signed");
    assert!(!sent(&[STANDARD], id, &(SENT + 1).to_string(), GOOD, SENT), "the time is signed");
    for time in ["", "x", "1614265330.0", "99999999999999999999", "-9223372036854775808"] {
        assert!(!sent(&[STANDARD], id, time, GOOD, SENT), "{time}");
    }
    assert!(!sent(&["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"], id, &time, GOOD, SENT));
    assert!(!sent(&[], id, &time, GOOD, SENT));
}

#[test]
fn many_signatures_take_no_longer_than_few() {
    let many = vec!["v1,AAAA"; 1000].join(" ");
    let time = SENT.to_string();
    assert!(!sent(&[STANDARD], "msg_p5jXN8AQM9LWM0D4loKWxJek", &time, &format!("{many} {GOOD}"), SENT));
}
