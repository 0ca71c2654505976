//! The few messages of Kerberos (RFC 4120) that a client needs: asking a KDC for a ticket, showing it to a service, and what both
//! answer. Nothing is decided here, and there is no input or output.

use jiff::Timestamp;

use super::super::codec::Malformed;
use super::crypto::Key;
use super::der::{self, Der};

const VERSION: i64 = 5;
const AS_REQ: u8 = 10;
const AS_REP: u8 = 11;
const TGS_REQ: u8 = 12;
const TGS_REP: u8 = 13;
const AP_REQ: u8 = 14;
const AP_REP: u8 = 15;
const ERROR: u8 = 30;

/// What a request to a KDC may carry before its body (`padata`).
pub(super) const PA_TGS_REQ: i64 = 1;
pub(super) const PA_ENC_TIMESTAMP: i64 = 2;
const PA_ETYPE_INFO2: i64 = 19;

/// Somebody with a name in a realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principal {
    /// `NT-PRINCIPAL` or `NT-SRV-INST`; it does not tell two principals apart.
    kind: i64,
    pub(super) parts: Vec<String>,
    pub(super) realm: String,
}

impl Principal {
    /// A user, whose name may have several parts.
    pub(super) fn user(name: &str, realm: &str) -> Self {
        Self { kind: 1, parts: name.split('/').map(str::to_owned).collect(), realm: realm.to_owned() }
    }

    /// A service on a host.
    pub(super) fn service(service: &str, host: &str, realm: &str) -> Self {
        Self { kind: 2, parts: vec![service.to_owned(), host.to_owned()], realm: realm.to_owned() }
    }

    /// Whether it is the same; a name's kind is only a hint.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.parts == other.parts && self.realm == other.realm
    }

    fn name(&self) -> Vec<u8> {
        let parts: Vec<_> = self.parts.iter().map(|part| der::string(part)).collect();
        der::sequence(&[der::field(0, &der::integer(self.kind)), der::field(1, &der::sequence(&parts))])
    }

    fn read(mut realm: Der<'_>, mut name: Der<'_>) -> Result<Self, Malformed> {
        let mut name = name.sequence()?;
        let kind = name.field(0)?.integer()?;
        let parts = name.field(1)?.sequence()?.each(Der::string)?;
        Ok(Self { kind, parts, realm: realm.string()? })
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.parts.join("/"), self.realm)
    }
}

/// Something encrypted, and with what kind of key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) etype: i64,
    pub(super) cipher: Vec<u8>,
}

impl Sealed {
    pub(super) fn with(key: &Key, cipher: Vec<u8>) -> Self {
        Self { etype: key.etype().number().into(), cipher }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        der::sequence(&[der::field(0, &der::integer(self.etype)), der::field(2, &der::octets(&self.cipher))])
    }

    fn read(mut der: Der<'_>) -> Result<Self, Malformed> {
        let mut fields = der.sequence()?;
        let etype = fields.field(0)?.integer()?;
        let _version = fields.optional(1)?;
        Ok(Self { etype, cipher: fields.field(2)?.octets()?.to_vec() })
    }
}

/// What is asked of a KDC (`KDC-REQ-BODY`): a ticket for `service`, for as long as the KDC allows.
pub(super) fn body(client: Option<&Principal>, service: &Principal, nonce: u32, etypes: &[i32]) -> Vec<u8> {
    let etypes: Vec<_> = etypes.iter().map(|etype| der::integer((*etype).into())).collect();
    der::sequence(&[
        der::field(0, &der::flags(0)),
        client.map(|client| der::field(1, &client.name())).unwrap_or_default(),
        der::field(2, &der::string(&service.realm)),
        der::field(3, &service.name()),
        der::field(5, &der::time(Timestamp::UNIX_EPOCH)),
        der::field(7, &der::integer(nonce.into())),
        der::field(8, &der::sequence(&etypes)),
    ])
}

fn request(number: u8, padata: &[(i64, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    let padata: Vec<_> = padata
        .iter()
        .map(|(kind, value)| der::sequence(&[der::field(1, &der::integer(*kind)), der::field(2, &der::octets(value))]))
        .collect();
    let padata = if padata.is_empty() { Vec::new() } else { der::field(3, &der::sequence(&padata)) };
    let fields = [
        der::field(1, &der::integer(VERSION)),
        der::field(2, &der::integer(number.into())),
        padata,
        der::field(4, body),
    ];
    der::application(number, &der::sequence(&fields))
}

/// Asks for a ticket by the principal's own key.
pub(super) fn as_request(padata: &[(i64, Vec<u8>)], body: &[u8]) -> Vec<u8> {
    request(AS_REQ, padata, body)
}

/// Asks for a ticket by another ticket, which `ap_request` shows.
pub(super) fn tgs_request(ap_request: Vec<u8>, body: &[u8]) -> Vec<u8> {
    request(TGS_REQ, &[(PA_TGS_REQ, ap_request)], body)
}

/// The time as it proves that somebody has a key now (`PA-ENC-TS-ENC`), to be encrypted with it.
pub(super) fn timestamp(now: Timestamp) -> Vec<u8> {
    der::sequence(&[der::field(0, &der::time(now)), der::field(1, &der::integer(microseconds(now)))])
}

pub(super) fn microseconds(at: Timestamp) -> i64 {
    at.as_microsecond().rem_euclid(1_000_000)
}

/// Who shows a ticket, and when, to be encrypted with the ticket's key.
pub(super) struct Authenticator<'a> {
    pub(super) client: &'a Principal,
    /// A type and a checksum.
    pub(super) checksum: (i32, &'a [u8]),
    pub(super) at: Timestamp,
    /// A key of this one use.
    pub(super) subkey: Option<&'a Key>,
    pub(super) sequence: Option<u32>,
}

impl Authenticator<'_> {
    pub(super) fn write(&self) -> Vec<u8> {
        let (kind, checksum) = self.checksum;
        let checksum =
            der::sequence(&[der::field(0, &der::integer(kind.into())), der::field(1, &der::octets(checksum))]);
        let subkey = self.subkey.map(|key| der::field(6, &write_key(key)));
        let sequence = self.sequence.map(|sequence| der::field(7, &der::integer(sequence.into())));
        let fields = [
            der::field(0, &der::integer(VERSION)),
            der::field(1, &der::string(&self.client.realm)),
            der::field(2, &self.client.name()),
            der::field(3, &checksum),
            der::field(4, &der::integer(microseconds(self.at))),
            der::field(5, &der::time(self.at)),
            subkey.unwrap_or_default(),
            sequence.unwrap_or_default(),
        ];
        der::application(2, &der::sequence(&fields))
    }
}

fn write_key(key: &Key) -> Vec<u8> {
    let kind = key.etype().number().into();
    der::sequence(&[der::field(0, &der::integer(kind)), der::field(1, &der::octets(key.expose()))])
}

/// A key of a kind that is known, else `None`.
fn read_key(mut der: Der<'_>) -> Result<Option<Key>, Malformed> {
    let mut fields = der.sequence()?;
    let etype = super::keytab::Etype::of(fields.field(0)?.integer()?);
    let bytes = fields.field(1)?.octets()?;
    Ok(etype.and_then(|etype| Key::new(etype, bytes)))
}

/// Shows a ticket (`ticket` as the KDC gave it), and asks for a proof in return where it is `mutual`.
pub(super) fn ap_request(ticket: &[u8], authenticator: &Sealed, mutual: bool) -> Vec<u8> {
    const MUTUAL_REQUIRED: u32 = 1 << 29;
    let fields = [
        der::field(0, &der::integer(VERSION)),
        der::field(1, &der::integer(AP_REQ.into())),
        der::field(2, &der::flags(if mutual { MUTUAL_REQUIRED } else { 0 })),
        der::field(3, ticket),
        der::field(4, &authenticator.write()),
    ];
    der::application(AP_REQ, &der::sequence(&fields))
}

/// What a service answers to that: something that proves that it could open the ticket.
pub(super) fn read_ap_reply(bytes: &[u8]) -> Result<Sealed, Malformed> {
    let mut fields = Der::new(bytes).application(AP_REP)?;
    let (_version, _kind) = (fields.field(0)?, fields.field(1)?);
    Sealed::read(fields.field(2)?)
}

/// What was sealed in it (`EncAPRepPart`).
pub(super) struct Proof {
    /// The authenticator's time, in seconds and microseconds.
    pub(super) at: (Timestamp, i64),
    /// A key that the service chose: `Some(None)` if it is of an unknown kind.
    pub(super) subkey: Option<Option<Key>>,
}

pub(super) fn read_proof(bytes: &[u8]) -> Result<Proof, Malformed> {
    let mut fields = Der::new(bytes).application(27)?;
    let at = (fields.field(0)?.time()?, fields.field(1)?.integer()?);
    Ok(Proof { at, subkey: fields.optional(2)?.map(read_key).transpose()? })
}

/// What a KDC answers.
pub(super) enum Reply {
    Given(Given),
    Refused(Refusal),
}

/// A ticket, with what only the client can open.
pub(super) struct Given {
    /// How a password becomes a key, where the KDC says so.
    pub(super) hints: Vec<Hint>,
    pub(super) client: Principal,
    /// As it is to be shown, byte for byte.
    pub(super) ticket: Vec<u8>,
    pub(super) sealed: Sealed,
}

/// What was sealed in it (`EncKDCRepPart`).
pub(super) struct Granted {
    /// The key to be used with the ticket; `None` if it is of an unknown kind.
    pub(super) key: Option<Key>,
    pub(super) nonce: i64,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) service: Principal,
}

/// How a password becomes a key of one kind (an entry of `ETYPE-INFO2`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) etype: i64,
    pub(super) salt: Option<String>,
    pub(super) parameters: Option<Vec<u8>>,
}

/// Why a KDC or a service gives nothing (`KRB-ERROR`). Nobody has proved who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    /// What time it is there.
    pub(super) now: Timestamp,
    pub(super) said: String,
    pub(super) hints: Vec<Hint>,
    /// The ways in which a client may prove itself.
    pub(super) offered: Vec<i64>,
}

type PreData<'a> = (i64, &'a [u8]);

fn read_padata(mut der: Der<'_>) -> Result<Vec<PreData<'_>>, Malformed> {
    der.sequence()?.each(|one| {
        let mut fields = one.sequence()?;
        Ok((fields.field(1)?.integer()?, fields.field(2)?.octets()?))
    })
}

fn hints(padata: &[PreData<'_>]) -> Result<Vec<Hint>, Malformed> {
    let Some((_, info)) = padata.iter().find(|(kind, _)| *kind == PA_ETYPE_INFO2) else { return Ok(Vec::new()) };
    Der::new(info).sequence()?.each(|one| {
        let mut fields = one.sequence()?;
        let etype = fields.field(0)?.integer()?;
        let salt = fields.optional(1)?.map(|mut salt| salt.string()).transpose()?;
        let parameters = fields.optional(2)?.map(|mut bytes| bytes.octets().map(<[u8]>::to_vec)).transpose()?;
        Ok(Hint { etype, salt, parameters })
    })
}

/// The answer to a request, which has to be of the kind that was asked for.
pub(super) fn read_reply(bytes: &[u8], is_tgs: bool) -> Result<Reply, Malformed> {
    if Der::new(bytes).is_application(ERROR) {
        return read_refusal(bytes).map(Reply::Refused);
    }
    let mut fields = Der::new(bytes).application(if is_tgs { TGS_REP } else { AS_REP })?;
    let (_version, _kind) = (fields.field(0)?, fields.field(1)?);
    let padata = fields.optional(2)?.map(read_padata).transpose()?.unwrap_or_default();
    let hints = hints(&padata)?;
    let client = Principal::read(fields.field(3)?, fields.field(4)?)?;
    let ticket = fields.field(5)?.rest().to_vec();
    Ok(Reply::Given(Given { hints, client, ticket, sealed: Sealed::read(fields.field(6)?)? }))
}

pub(super) fn read_granted(bytes: &[u8]) -> Result<Granted, Malformed> {
    // Some KDCs number the part of the one reply as that of the other.
    let number = if Der::new(bytes).is_application(25) { 25 } else { 26 };
    let mut fields = Der::new(bytes).application(number)?;
    let key = read_key(fields.field(0)?)?;
    let _last_logins = fields.field(1)?;
    let nonce = fields.field(2)?.integer()?;
    let _key_ends = fields.optional(3)?;
    let _flags = fields.field(4)?;
    let authenticated = fields.field(5)?.time()?;
    let start = fields.optional(6)?.map(|mut start| start.time()).transpose()?.unwrap_or(authenticated);
    let end = fields.field(7)?.time()?;
    let _renewable_till = fields.optional(8)?;
    let service = Principal::read(fields.field(9)?, fields.field(10)?)?;
    Ok(Granted { key, nonce, start, end, service })
}

pub(super) fn read_refusal(bytes: &[u8]) -> Result<Refusal, Malformed> {
    let mut fields = Der::new(bytes).application(ERROR)?;
    let (_version, _kind) = (fields.field(0)?, fields.field(1)?);
    let (_client_time, _client_microseconds) = (fields.optional(2)?, fields.optional(3)?);
    let now = fields.field(4)?.time()?;
    let _microseconds = fields.field(5)?;
    let code = fields.field(6)?.integer()?;
    let (_client_realm, _client) = (fields.optional(7)?, fields.optional(8)?);
    let (_realm, _service) = (fields.field(9)?, fields.field(10)?);
    let said = fields.optional(11)?.map(|mut said| said.string()).transpose()?.unwrap_or_default();
    // With some errors it is something else, of no interest here.
    let data = fields.optional(12)?.map(|mut data| data.octets()).transpose()?.unwrap_or_default();
    let padata = read_padata(Der::new(data)).unwrap_or_default();
    let offered = padata.iter().map(|(kind, _)| *kind).collect();
    Ok(Refusal { code, now, said, hints: hints(&padata)?, offered })
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
