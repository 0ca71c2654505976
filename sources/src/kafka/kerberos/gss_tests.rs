//! A login against a service within the test, honest and not.

use proptest::prelude::*;

use super::super::keytab::Etype;
use super::super::messages::Principal;
use super::*;

/// A service, which knows the key of the ticket and how to seal with it. It lies where it is told to.
struct Service {
    session: Key,
    subkey: Option<Key>,
    initiator: Key,
    at: (Timestamp, i64),
}

fn now() -> Timestamp {
    "2026-11-26T12:00:00.123456Z".parse().expect("a time")
}

fn ticket(etype: Etype) -> Ticket {
    Ticket::of(Key::random(etype).expect("a key"), Principal::user("reader", "RIG"))
}

/// What is sealed in the first token, as the service reads it.
fn accept(ticket: &Ticket, token: &[u8], subkey: Option<Key>) -> Service {
    let content = Der::new(token).element(0x60).expect("a token").rest();
    let request = content.strip_prefix(&MECHANISM).and_then(|rest| rest.strip_prefix(&REQUEST)).expect("a request");
    let mut request = Der::new(request).application(14).expect("an AP-REQ");
    let (_, _) = (request.field(0), request.field(1));
    assert_eq!(request.field(2).expect("options").rest(), [3, 5, 0, 0x20, 0, 0, 0], "it wants a proof in return");
    assert_eq!(request.field(3).expect("a ticket").rest(), ticket.bytes);
    let mut sealed = request.field(4).expect("an authenticator").sequence().expect("a sequence");
    let _etype = sealed.field(0);
    let cipher = sealed.field(2).expect("sealed").octets().expect("bytes");
    let opened = ticket.key.decrypt(Usage::ApAuthenticator, cipher).expect("opened");
    let mut fields = Der::new(&opened).application(2).expect("an authenticator");
    let (_, realm, _) = (fields.field(0), fields.field(1).expect("a realm").string(), fields.field(2));
    assert_eq!(realm.expect("text"), "RIG");
    let _checksum = fields.field(3).expect("flags");
    let microseconds = fields.field(4).expect("microseconds").integer().expect("a number");
    let at = (fields.field(5).expect("a time").time().expect("a time"), microseconds);
    let mut key = fields.field(6).expect("a subkey").sequence().expect("a key");
    let _etype = key.field(0);
    let initiator = Key::new(ticket.key.etype(), key.field(1).expect("bytes").octets().expect("bytes")).expect("a key");
    Service { session: ticket.key.clone(), subkey, initiator, at }
}

impl Service {
    fn reply(&self) -> Vec<u8> {
        let subkey = self.subkey.as_ref().map(|key| {
            let etype = der::field(0, &der::integer(key.etype().number().into()));
            der::field(2, &der::sequence(&[etype, der::field(1, &der::octets(key.expose()))]))
        });
        let (at, microseconds) = self.at;
        let fields =
            [der::field(0, &der::time(at)), der::field(1, &der::integer(microseconds)), subkey.unwrap_or_default()];
        let sealed = self.session.encrypt(Usage::ApReply, &der::application(27, &der::sequence(&fields)));
        let sealed = Sealed::with(&self.session, sealed.expect("sealed"));
        let fields =
            [der::field(0, &der::integer(5)), der::field(1, &der::integer(15)), der::field(2, &sealed.write())];
        let reply = der::application(15, &der::sequence(&fields));
        der::application(0, &[&MECHANISM[..], &REPLY, &reply].concat())
    }

    fn key(&self) -> (&Key, u8) {
        self.subkey.as_ref().map_or((&self.initiator, 0), |key| (key, ACCEPTOR_SUBKEY))
    }

    /// Wraps as a service does, turned by so many bytes.
    fn wrap(&self, message: &[u8], turned: u16) -> Vec<u8> {
        let (key, flag) = self.key();
        let header = |extra: u16, turned: u16| {
            let lengths = [extra.to_be_bytes(), turned.to_be_bytes()].concat();
            [&WRAPPED[..], &[SENT_BY_ACCEPTOR | flag, 0xff], &lengths, &77_u64.to_be_bytes()].concat()
        };
        let checksum = key.checksum(Usage::AcceptorSeal, &[message, &header(0, 0)].concat()).expect("a checksum");
        let mut rest = [message, &checksum].concat();
        let by = usize::from(turned) % rest.len();
        rest.rotate_right(by);
        [header(checksum.len() as u16, turned), rest].concat()
    }

    /// Whether an answer is wrapped by the client.
    fn unwrap(&self, token: &[u8]) -> Vec<u8> {
        let (key, flag) = self.key();
        let length = key.etype().hash_len();
        let (message, checksum) = token[HEADER..].split_at(token.len() - HEADER - length);
        assert_eq!(token[..8], [5, 4, flag, 0xff, 0, length as u8, 0, 0]);
        let mut header = token[..HEADER].to_vec();
        header[4..8].fill(0);
        key.verify(Usage::InitiatorSeal, &[message, &header].concat(), checksum).expect("its checksum");
        message.to_vec()
    }
}

#[test]
fn both_prove_themselves_and_agree_on_no_layer() {
    for etype in Etype::ALL {
        for subkey in [None, Some(Key::random(Etype::Aes256Sha2).expect("a key"))] {
            for turned in [0, 1, 12, 300] {
                let ticket = ticket(etype);
                let (mut context, token) = Context::begin(&ticket, now()).expect("begun");
                let service = accept(&ticket, &token, subkey.clone());
                assert_eq!(context.judge(&service.reply()), Ok(()));
                let answer = context.agree(&service.wrap(&[1, 0, 16, 0], turned)).expect("agreed");
                assert_eq!(service.unwrap(&answer), [1, 0, 0, 0], "no layer, nothing to be received, no other user");
            }
        }
    }
}

#[test]
fn a_service_without_the_key_is_not_believed() {
    let ticket = ticket(Etype::Aes256Sha1);
    let begin = || Context::begin(&ticket, now()).expect("begun");
    let (mut context, token) = begin();
    let honest = accept(&ticket, &token, None);
    let stranger = Service { session: Key::random(Etype::Aes256Sha1).expect("a key"), ..accept(&ticket, &token, None) };
    assert_eq!(context.judge(&stranger.reply()), Err(Broken::Unproved));
    let late = Service { at: (now(), 123_457), ..accept(&ticket, &token, None) };
    assert_eq!(context.judge(&late.reply()), Err(Broken::Unproved), "an answer to another login");
    // Another login with the same ticket has other keys.
    let (other, _) = begin();
    assert_eq!(context.judge(&honest.reply()), Ok(()));
    assert_eq!(other.agree(&honest.wrap(&[1, 0, 0, 0], 0)), Err(Broken::Unproved));
    // The client's own words are none of the service's.
    let own = context.wrap(&[1, 0, 0, 0]).expect("wrapped");
    assert_eq!(context.agree(&own), Err(Broken::Malformed));
}

#[test]
fn what_a_service_wants_and_refuses_is_told() {
    let ticket = ticket(Etype::Aes128Sha2);
    let (mut context, token) = Context::begin(&ticket, now()).expect("begun");
    let service = accept(&ticket, &token, None);
    context.judge(&service.reply()).expect("proved");
    for layers in [0, 2, 4, 6] {
        assert_eq!(context.agree(&service.wrap(&[layers, 0, 16, 0], 0)), Err(Broken::WantsLayer));
    }
    for offered in [&[][..], &[1], &[1, 0, 0, 0, 0]] {
        assert_eq!(context.agree(&service.wrap(offered, 0)), Err(Broken::Malformed));
    }
    let fields = [
        der::field(0, &der::integer(5)),
        der::field(1, &der::integer(30)),
        der::field(4, &der::time(now())),
        der::field(5, &der::integer(0)),
        der::field(6, &der::integer(37)),
        der::field(9, &der::string("RIG")),
        der::field(10, &der::sequence(&[])),
    ];
    let error = der::application(30, &der::sequence(&fields));
    let error = der::application(0, &[&MECHANISM[..], &ERROR, &error].concat());
    assert!(matches!(context.judge(&error), Err(Broken::Refused(refusal)) if refusal.code == 37));
}

proptest! {
    #[test]
    fn nothing_that_is_said_makes_it_panic(bytes: Vec<u8>, place: prop::sample::Index, value: u8) {
        let ticket = ticket(Etype::Aes256Sha1);
        let (mut context, token) = Context::begin(&ticket, now()).expect("begun");
        let service = accept(&ticket, &token, None);
        prop_assert!(context.judge(&bytes).is_err() && context.agree(&bytes).is_err());
        for (mut said, is_reply) in [(service.reply(), true), (service.wrap(&[1, 0, 0, 0], 0), false)] {
            let place = place.index(said.len());
            said[place] ^= value;
            if is_reply {
                let _ = context.judge(&said);
            } else {
                // Its number is the one thing that does not matter but for the checksum, and the turn of bytes may be whole.
                prop_assert_eq!(context.agree(&said).is_ok(), value == 0 || (6..8).contains(&place) && context.agree(&said).is_ok());
            }
        }
    }
}
