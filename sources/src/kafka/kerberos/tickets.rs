//! The tickets of one login: that of the realm, by which those of brokers are asked for. They are kept, and replaced before they end,
//! so that a new connection asks no KDC and a KDC may be away for a while. Never shows a key, and never speaks to a broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use windlass_decision::Clock;

use super::super::outcome::Problem;
use super::conf::realm_of;
use super::config::{Kerberos, Proof};
use super::crypto::{Key, Usage};
use super::keytab::Etype;
use super::messages::{self, Authenticator, Given, Hint, Principal, Refusal, Reply, Sealed};
use super::{kdc, problem};
use crate::NetworkPolicy;

/// A ticket with less time left is not shown any more: the broker's clock may be ahead.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// A ticket is replaced when this part of its time is left.
const LAST_PART: i32 = 5;
/// How long nothing is asked of KDCs that did not replace a ticket, while it is still good.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// See the module.
pub(in super::super) struct Tickets {
    login: Kerberos,
    network: Arc<NetworkPolicy>,
    clock: Arc<dyn Clock>,
    /// Held while a ticket is asked for, so that several connections that begin at once ask for it once.
    kept: Mutex<Kept>,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").field("login", &self.login).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Kept {
    /// The place of the KDC that answered last.
    kdc: usize,
    /// The ticket of the realm.
    own: Option<Arc<Ticket>>,
    /// Those of brokers, by host.
    services: BTreeMap<String, Arc<Ticket>>,
    /// When a ticket that is still good was not replaced.
    failed: Option<Timestamp>,
}

/// A ticket, and what its holder knows of it. It has no `Debug`.
pub(super) struct Ticket {
    /// As it is shown.
    pub(super) bytes: Vec<u8>,
    pub(super) key: Key,
    pub(super) client: Principal,
    start: Timestamp,
    end: Timestamp,
}

impl Ticket {
    fn is_good(&self, now: Timestamp) -> bool {
        now + MARGIN < self.end
    }

    /// Whether there is no need of another one yet.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let life = self.end.duration_since(self.start);
        self.is_good(now) && self.end.duration_since(now) > life / LAST_PART
    }
}

/// Why there is no ticket.
enum Failure {
    /// The KDC says no.
    Refused(Refusal),
    Problem(Problem),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Tickets {
    pub(in super::super) fn new(login: Kerberos, network: Arc<NetworkPolicy>, clock: Arc<dyn Clock>) -> Self {
        Self { login, network, clock, kept: Mutex::default() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The principal of the broker on `host`.
    pub(super) fn service(&self, host: &str) -> Principal {
        Principal::service(&self.login.service, host, &self.login.realm)
    }

    /// A ticket for the broker on `host`, and whether it was asked for just now. `time` is how long that may take.
    pub(super) async fn for_host(&self, host: &str, time: Duration) -> Result<(Arc<Ticket>, bool), Problem> {
        if let Some(realm) = realm_of(&self.login.domains, host).filter(|realm| *realm != self.login.realm) {
            return Err(problem::other_realm(&self.login, host, realm));
        }
        let began = Instant::now();
        let late = |_| problem::kdc_timeout(&self.login);
        let mut kept = timeout_at(began + time, self.kept.lock()).await.map_err(late)?;
        let now = self.now();
        let held = kept.services.get(host).filter(|ticket| ticket.is_good(now)).cloned();
        let spared = kept.failed.is_some_and(|failed| now < failed + PAUSE);
        if let Some(held) = held.as_ref().filter(|held| spared || held.is_fresh(now)) {
            return Ok((Arc::clone(held), false));
        }
        // A KDC that hangs must leave time to show the ticket that is there.
        let time = if held.is_some() { time / 2 } else { time };
        match (self.fetch(&mut kept, host, began + time).await, held) {
            (Ok(ticket), _) => {
                kept.services.retain(|_, ticket| ticket.is_good(now));
                kept.services.insert(host.to_owned(), Arc::clone(&ticket));
                kept.failed = None;
                Ok((ticket, true))
            }
            (Err(problem), None) => Err(problem),
            (Err(problem), Some(held)) => {
                kept.failed = Some(now);
                let (principal, end) = (self.login.to_string(), held.end);
                tracing::warn!(principal, %end, why = problem.message, "kerberos ticket not replaced, using it until it ends");
                Ok((held, false))
            }
        }
    }

    /// Forgets the ticket for a broker that refuses it: its key may be another by now.
    pub(super) async fn forget(&self, host: &str) {
        self.kept.lock().await.services.remove(host);
    }

    async fn fetch(&self, kept: &mut Kept, host: &str, until: Instant) -> Result<Arc<Ticket>, Problem> {
        /// The realm has no such service: its own ticket is none the worse.
        const SERVICE_UNKNOWN: i64 = 7;
        let service = self.service(host);
        let refused = |failure| match failure {
            Failure::Refused(refusal) => problem::no_ticket(&self.login, &service, &refusal, self.now()),
            Failure::Problem(problem) => problem,
        };
        let now = self.now();
        if let Some(own) = kept.own.clone().filter(|own| own.is_fresh(now)) {
            match self.by_ticket(kept, &own, &service, until).await {
                // Another realm's database, or one that was set up anew, does not know it any more.
                Err(Failure::Refused(refusal)) if refusal.code != SERVICE_UNKNOWN => kept.own = None,
                other => return other.map_err(refused),
            }
        }
        let own = self.by_proof(kept, until).await.map_err(|failure| match failure {
            Failure::Refused(refusal) => problem::no_login(&self.login, &refusal, self.now()),
            Failure::Problem(problem) => problem,
        })?;
        kept.own = Some(Arc::clone(&own));
        self.by_ticket(kept, &own, &service, until).await.map_err(refused)
    }

    async fn ask(&self, kept: &mut Kept, request: &[u8], is_tgs: bool, until: Instant) -> Result<Reply, Problem> {
        let (place, reply) = kdc::ask(&self.login, &self.network, kept.kdc, (request, is_tgs), until).await?;
        kept.kdc = place;
        Ok(reply)
    }

    /// The ticket of the realm, by password or keytab.
    async fn by_proof(&self, kept: &mut Kept, until: Instant) -> Result<Arc<Ticket>, Failure> {
        /// The KDC wants the client to prove itself first, and says how (`KDC_ERR_PREAUTH_REQUIRED`).
        const PROVE_FIRST: i64 = 25;
        let client = Principal::user(&self.login.username, &self.login.realm);
        let service = Principal::service("krbtgt", &self.login.realm, &self.login.realm);
        let nonce = self.nonce()?;
        let body = messages::body(Some(&client), &service, nonce, &self.etypes());
        let mut reply = self.ask(kept, &messages::as_request(&[], &body), false, until).await?;
        let mut hints = Vec::new();
        if let Reply::Refused(refusal) = &reply
            && refusal.code == PROVE_FIRST
        {
            hints.clone_from(&refusal.hints);
            let key = hints.iter().find_map(|hint| self.key(hint));
            let key = key.ok_or_else(|| problem::no_common_key(&self.login))?;
            if !refusal.offered.contains(&messages::PA_ENC_TIMESTAMP) {
                return Err(problem::other_proof(&self.login).into());
            }
            let proof = key.encrypt(Usage::Timestamp, &messages::timestamp(self.now())).map_err(|_| self.failed())?;
            let proof = (messages::PA_ENC_TIMESTAMP, Sealed::with(&key, proof).write());
            reply = self.ask(kept, &messages::as_request(&[proof], &body), false, until).await?;
        }
        let given = match reply {
            Reply::Given(given) => given,
            Reply::Refused(refusal) => return Err(Failure::Refused(refusal)),
        };
        // What came with the ticket says best how it is sealed.
        let of_ticket = |hint: &&Hint| hint.etype == given.sealed.etype;
        let plain = Hint { etype: given.sealed.etype, salt: None, parameters: None };
        let hint = given.hints.iter().chain(&hints).find(of_ticket).unwrap_or(&plain);
        let key = self.key(hint).ok_or_else(|| problem::no_common_key(&self.login))?;
        let opened = key.decrypt(Usage::AsReply, &given.sealed.cipher);
        let opened = opened.map_err(|_| problem::wrong_proof(&self.login))?;
        Ok(self.ticket(given, &opened, (&client, &service), nonce)?)
    }

    /// The ticket of a service, by that of the realm.
    async fn by_ticket(
        &self,
        kept: &mut Kept,
        own: &Ticket,
        service: &Principal,
        until: Instant,
    ) -> Result<Arc<Ticket>, Failure> {
        let nonce = self.nonce()?;
        let body = messages::body(None, service, nonce, &Etype::ALL.map(Etype::number));
        let checksum = own.key.checksum(Usage::TgsChecksum, &body).map_err(|_| self.failed())?;
        let authenticator = Authenticator {
            client: &own.client,
            checksum: (own.key.etype().checksum_type(), &checksum),
            at: self.now(),
            subkey: None,
            sequence: None,
        };
        let sealed = own.key.encrypt(Usage::TgsAuthenticator, &authenticator.write()).map_err(|_| self.failed())?;
        let shown = messages::ap_request(&own.bytes, &Sealed::with(&own.key, sealed), false);
        match self.ask(kept, &messages::tgs_request(shown, &body), true, until).await? {
            Reply::Refused(refusal) => Err(Failure::Refused(refusal)),
            Reply::Given(given) => {
                let opened = own.key.decrypt(Usage::TgsReply, &given.sealed.cipher).map_err(|_| self.failed())?;
                Ok(self.ticket(given, &opened, (&own.client, service), nonce)?)
            }
        }
    }

    /// A ticket, if it is what was asked for.
    fn ticket(
        &self,
        given: Given,
        opened: &[u8],
        (client, service): (&Principal, &Principal),
        nonce: u32,
    ) -> Result<Arc<Ticket>, Problem> {
        let granted = messages::read_granted(opened).map_err(|_| self.failed())?;
        if granted.nonce != i64::from(nonce) || !granted.service.is(service) || !given.client.is(client) {
            return Err(self.failed());
        }
        let key = granted.key.ok_or_else(|| problem::no_common_key(&self.login))?;
        let ticket =
            Ticket { bytes: given.ticket, key, client: client.clone(), start: granted.start, end: granted.end };
        if !ticket.is_good(self.now()) {
            return Err(problem::ended(&self.login, ticket.end, self.now()));
        }
        Ok(Arc::new(ticket))
    }

    /// The kinds of keys that there are here.
    fn etypes(&self) -> Vec<i32> {
        match &self.login.proof {
            Proof::Password(_) => Etype::ALL.map(Etype::number).to_vec(),
            Proof::Keytab(keys) => keys.iter().map(|key| key.etype.number()).collect(),
        }
    }

    /// The principal's own key of the kind that a hint is about.
    fn key(&self, hint: &Hint) -> Option<Key> {
        let etype = Etype::of(hint.etype)?;
        match &self.login.proof {
            Proof::Keytab(keys) => {
                let key = keys.iter().find(|key| key.etype == etype)?;
                Key::new(etype, key.key.expose_bytes())
            }
            Proof::Password(password) => {
                let usual = || format!("{}{}", self.login.realm, self.login.username.replace('/', ""));
                let salt = hint.salt.clone().unwrap_or_else(usual);
                let password = password.expose().as_bytes();
                Key::of_password(etype, password, salt.as_bytes(), hint.parameters.as_deref()).ok()
            }
        }
    }

    fn nonce(&self) -> Result<u32, Problem> {
        let mut random = [0; 4];
        rand::fill(&mut random).map_err(|_| self.failed())?;
        // Old KDCs know numbers with a sign only.
        Ok(u32::from_be_bytes(random) >> 1)
    }

    /// Something that only a KDC which is none, or a defect, can bring about.
    fn failed(&self) -> Problem {
        problem::nonsense(&self.login)
    }
}

#[cfg(test)]
#[path = "tickets_tests.rs"]
mod tests;
