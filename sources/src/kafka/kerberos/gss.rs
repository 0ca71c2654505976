//! What a client says to a service to log in: the tokens of Kerberos in GSS-API (RFC 4121), and the agreement on no further layer
//! which SASL has at its end (RFC 4752). It makes and judges tokens; it never sends one.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use jiff::Timestamp;

use super::super::codec::Malformed;
use super::crypto::{Key, Usage};
use super::der::{self, Der};
use super::messages::{self, Authenticator, Refusal, Sealed};
use super::tickets::Ticket;

/// The object identifier of Kerberos, 1.2.840.113554.1.2.2, with tag and length.
const MECHANISM: [u8; 11] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02];
/// What stands in front of each kind of message.
const REQUEST: [u8; 2] = [1, 0];
const REPLY: [u8; 2] = [2, 0];
const ERROR: [u8; 2] = [3, 0];
const WRAPPED: [u8; 2] = [5, 4];
/// A wrapped message has a header of so many bytes.
const HEADER: usize = 16;

/// The checksum that carries what is wanted of a context instead of being one.
const CHECKSUM: i32 = 0x8003;
const MUTUAL: u32 = 2;
const REPLAY: u32 = 4;
const SEQUENCE: u32 = 8;
const INTEGRITY: u32 = 32;

const SENT_BY_ACCEPTOR: u8 = 1;
const ACCEPTOR_SUBKEY: u8 = 4;

/// No layer of integrity or confidentiality below what follows: that is what TLS is for.
const NO_LAYER: u8 = 1;

/// Why a service is not believed, or what it does not like.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// What it says is no such token.
    Malformed,
    /// It has not proved that it could open the ticket.
    Unproved,
    /// It wants a layer that is not there.
    WantsLayer,
    /// It says what is wrong.
    Refused(Box<Refusal>),
}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<Unspecified> for Broken {
    fn from(_: Unspecified) -> Self {
        Self::Unproved
    }
}

/// A login under way.
pub(super) struct Context {
    /// The ticket's key, which the proof is sealed with.
    session: Key,
    subkey: Key,
    /// The key that the service chose, once it has.
    acceptor: Option<Key>,
    at: Timestamp,
    sequence: u32,
}

impl Context {
    /// Begins a login, with the first token.
    pub(super) fn begin(ticket: &Ticket, now: Timestamp) -> Result<(Self, Vec<u8>), Unspecified> {
        let subkey = Key::random(ticket.key.etype())?;
        let mut random = [0; 4];
        rand::fill(&mut random)?;
        // Old services know numbers with a sign only.
        let sequence = u32::from_be_bytes(random) >> 2;
        let flags = MUTUAL | REPLAY | SEQUENCE | INTEGRITY;
        let wanted = [&16_u32.to_le_bytes()[..], &[0; 16], &flags.to_le_bytes()].concat();
        let authenticator = Authenticator {
            client: &ticket.client,
            checksum: (CHECKSUM, &wanted),
            at: now,
            subkey: Some(&subkey),
            sequence: Some(sequence),
        };
        let sealed = ticket.key.encrypt(Usage::ApAuthenticator, &authenticator.write())?;
        let request = messages::ap_request(&ticket.bytes, &Sealed::with(&ticket.key, sealed), true);
        let token = der::application(0, &[&MECHANISM[..], &REQUEST, &request].concat());
        Ok((Self { session: ticket.key.clone(), subkey, acceptor: None, at: now, sequence }, token))
    }

    /// Judges what the service answers to that: only one that has the key of its principal can.
    pub(super) fn judge(&mut self, token: &[u8]) -> Result<(), Broken> {
        let content = Der::new(token).element(0x60)?.rest();
        let message = content.strip_prefix(&MECHANISM).ok_or(Malformed)?;
        if let Some(error) = message.strip_prefix(&ERROR) {
            return Err(Broken::Refused(Box::new(messages::read_refusal(error)?)));
        }
        let sealed = messages::read_ap_reply(message.strip_prefix(&REPLY).ok_or(Malformed)?)?;
        let proof = messages::read_proof(&self.session.decrypt(Usage::ApReply, &sealed.cipher)?)?;
        let (seconds, microseconds) = proof.at;
        if seconds.as_second() != self.at.as_second() || microseconds != messages::microseconds(self.at) {
            return Err(Broken::Unproved);
        }
        if let Some(subkey) = proof.subkey {
            self.acceptor = Some(subkey.ok_or(Malformed)?);
        }
        Ok(())
    }

    /// Answers the layers that the service offers: none, and no other user than that of the ticket.
    pub(super) fn agree(&self, offered: &[u8]) -> Result<Vec<u8>, Broken> {
        let offered = self.unwrap(offered)?;
        let [layers, _largest @ ..]: [u8; 4] = offered.try_into().map_err(|_| Malformed)?;
        if layers & NO_LAYER == 0 {
            return Err(Broken::WantsLayer);
        }
        Ok(self.wrap(&[NO_LAYER, 0, 0, 0])?)
    }

    /// The key of what follows, and the flag that says which one it is.
    fn key(&self) -> (&Key, u8) {
        self.acceptor.as_ref().map_or((&self.subkey, 0), |key| (key, ACCEPTOR_SUBKEY))
    }

    /// A message with its checksum behind it, in the clear.
    fn wrap(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let (key, flag) = self.key();
        let [.., high, low] = key.etype().hash_len().to_be_bytes();
        let header = |extra: [u8; 2]| {
            [&WRAPPED[..], &[flag, 0xff], &extra, &[0, 0], &u64::from(self.sequence).to_be_bytes()].concat()
        };
        let checksum = key.checksum(Usage::InitiatorSeal, &[message, &header([0, 0])].concat())?;
        Ok([&header([high, low])[..], message, &checksum].concat())
    }

    /// A message of the service, in the clear. Its number is not looked at: the key is of this login alone, and this is its only message.
    fn unwrap(&self, token: &[u8]) -> Result<Vec<u8>, Broken> {
        let (header, rest) = token.split_first_chunk::<HEADER>().ok_or(Malformed)?;
        let [kind @ .., flags, 0xff, extra_high, extra_low, turned_high, turned_low, _, _, _, _, _, _, _, _] = *header
        else {
            return Err(Broken::Malformed);
        };
        let (key, flag) = self.key();
        if kind != WRAPPED || flags != SENT_BY_ACCEPTOR | flag {
            return Err(Broken::Malformed);
        }
        let extra = usize::from(u16::from_be_bytes([extra_high, extra_low]));
        let turned = usize::from(u16::from_be_bytes([turned_high, turned_low]));
        let mut rest = rest.to_vec();
        if !rest.is_empty() {
            let by = turned % rest.len();
            rest.rotate_left(by);
        }
        let length = rest.len().checked_sub(extra).ok_or(Malformed)?;
        let (message, checksum) = rest.split_at(length);
        // Its two lengths count as nothing.
        let mut header = *header;
        header[4..8].fill(0);
        key.verify(Usage::AcceptorSeal, &[message, &header].concat(), checksum)?;
        Ok(message.to_vec())
    }
}

#[cfg(test)]
#[path = "gss_tests.rs"]
mod tests;
