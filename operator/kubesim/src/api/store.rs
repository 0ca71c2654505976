//! Everything the API server keeps: the objects, a history of their changes, and a log of who asked for what. It stores
//! what it is given; what may be written is decided in `write`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::kind::{Kind, built_in};
use super::selector::Selector;
use super::status::Status;

/// How long an event is kept.
const EVENT_TTL: SignedDuration = SignedDuration::from_hours(1);

/// Namespace (empty for what lives in none) and name.
pub type At = (String, String);

/// How an object changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is another.
    Modified,
    /// It is gone.
    Deleted,
}

/// A change, as it was committed.
#[derive(Debug, Clone)]
pub struct Change {
    /// The kind of object.
    pub resource: Arc<Kind>,
    /// How it changed.
    pub kind: ChangeKind,
    /// The object after it; before it, with the new version, if it is gone.
    pub object: Arc<Value>,
    /// The object before it.
    pub old: Option<Arc<Value>>,
    /// Its resourceVersion.
    pub version: u64,
    /// When it was committed.
    pub at: Instant,
}

/// A feed of changes, in the order in which they were committed.
pub type Changes = mpsc::UnboundedReceiver<Arc<Change>>;

/// A request that reached the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// When it was answered, by the cluster's clock.
    pub at: Timestamp,
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// Plural of what was asked about, or the path of an aggregated API.
    pub resource: String,
    /// Subresource, or nothing.
    pub subresource: String,
    /// Namespace, or nothing.
    pub namespace: String,
    /// Name, or nothing.
    pub name: String,
    /// HTTP status.
    pub code: u16,
    /// The version that a write has made.
    pub version: Option<u64>,
}

impl fmt::Display for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sub = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        write!(
            f,
            "{} {} {} {}{sub} {}/{} {}",
            self.at, self.user, self.verb, self.resource, self.namespace, self.name, self.code
        )?;
        self.version.map_or(Ok(()), |version| write!(f, " v{version}"))
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) kind: Arc<Kind>,
    pub(super) objects: BTreeMap<At, Arc<Value>>,
    pub(super) history: VecDeque<Recorded>,
    /// The newest version that is not in the history any more.
    pub(super) forgotten: u64,
    /// Wakes its watches, in the order in which they wait: a `tokio::sync::watch` wakes its receivers in an order by chance.
    pub(super) changed: Arc<Notify>,
}

/// A change in the history, and its line for watches once one has asked for it.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) change: Arc<Change>,
    pub(super) lines: Arc<[OnceLock<Bytes>; 4]>,
}

/// Group and plural.
type Key = (String, String);

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) tables: BTreeMap<Key, Table>,
    /// Kinds that are not served any more: watches read their last changes.
    retired: BTreeMap<Key, Table>,
    /// What each owner owns, by its uid.
    pub(super) owned: BTreeMap<String, BTreeSet<(Key, At)>>,
    /// The uids of objects whose finalizers are being seen to.
    pub(super) settling: BTreeSet<String>,
    pub(super) version: u64,
    rng: SmallRng,
    subscribers: Vec<mpsc::UnboundedSender<Arc<Change>>>,
    audit: VecDeque<Audited>,
    audit_limit: usize,
    history_limit: usize,
    /// How many events were ever made.
    events: u64,
}

impl Store {
    pub(super) fn new(seed: u64, history_limit: usize, audit_limit: usize) -> Self {
        let mut store = Self {
            tables: BTreeMap::new(),
            retired: BTreeMap::new(),
            owned: BTreeMap::new(),
            settling: BTreeSet::new(),
            version: 1,
            rng: SmallRng::seed_from_u64(seed),
            subscribers: Vec::new(),
            audit: VecDeque::new(),
            audit_limit,
            history_limit,
            events: 0,
        };
        built_in().for_each(|kind| store.add_kind(kind));
        store
    }

    /// Makes a kind known, or known anew with its objects kept.
    pub(super) fn add_kind(&mut self, kind: Kind) {
        let key = (kind.group.clone(), kind.plural.clone());
        let forgotten = self.version;
        if let Some(mut table) = self.retired.remove(&key) {
            // Whoever still watches it learns that it must look again.
            (table.history, table.forgotten) = (VecDeque::new(), forgotten);
            self.tables.insert(key.clone(), table);
        }
        match self.tables.get_mut(&key) {
            Some(table) => table.kind = Arc::new(kind),
            None => {
                let changed = Arc::default();
                let (objects, history) = (BTreeMap::new(), VecDeque::new());
                self.tables.insert(key, Table { kind: Arc::new(kind), objects, history, forgotten, changed });
            }
        }
    }

    /// Serves a kind no more. Its objects must be gone.
    pub(super) fn remove_kind(&mut self, group: &str, plural: &str) {
        let key = (group.to_owned(), plural.to_owned());
        if let Some(table) = self.tables.remove(&key) {
            table.changed.notify_waiters();
            self.retired.insert(key, table);
        }
    }

    /// The objects of a kind that was served once.
    pub(super) fn retired(&self, group: &str, plural: &str) -> Option<&Table> {
        self.retired.get(&(group.to_owned(), plural.to_owned()))
    }

    pub(super) fn table(&self, group: &str, plural: &str) -> Option<&Table> {
        // Borrowing both parts would need a key type of its own; the strings are short.
        self.tables.get(&(group.to_owned(), plural.to_owned()))
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.tables.values().map(|table| &table.kind)
    }

    pub(super) fn get(&self, kind: &Kind, at: &At) -> Option<Arc<Value>> {
        self.table(&kind.group, &kind.plural)?.objects.get(at).cloned()
    }

    /// A fresh uid.
    pub(super) fn uid(&mut self) -> String {
        let (high, low): (u64, u64) = (self.rng.random(), self.rng.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            (low >> 48) & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }

    /// The end of a generated name, in the letters that Kubernetes uses (no vowels, so no words).
    pub(super) fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(LETTERS[self.rng.random_range(0..LETTERS.len())])).collect()
    }

    /// Commits a change: stores the object under the next version and tells everybody.
    pub(super) fn commit(&mut self, kind: &Kind, at: At, mut object: Value, change: ChangeKind) -> Arc<Value> {
        self.version += 1;
        let version = self.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        let key = (kind.group.clone(), kind.plural.clone());
        let Some(table) = self.tables.get_mut(&key) else { return object };
        let old = match change {
            ChangeKind::Deleted => table.objects.remove(&at),
            _ => table.objects.insert(at.clone(), object.clone()),
        };
        let after = if change == ChangeKind::Deleted { None } else { Some(&*object) };
        note_owners(&mut self.owned, (&key, &at), old.as_deref(), after);
        let (resource, at) = (table.kind.clone(), Instant::now());
        let change = Arc::new(Change { resource, kind: change, object: object.clone(), old, version, at });
        table.history.push_back(Recorded { change: change.clone(), lines: Arc::default() });
        while table.history.len() > self.history_limit {
            if let Some(gone) = table.history.pop_front() {
                table.forgotten = gone.change.version;
            }
        }
        table.changed.notify_waiters();
        self.subscribers.retain(|subscriber| subscriber.send(change.clone()).is_ok());
        object
    }

    /// Events live for an hour (`--event-ttl`). They are looked at now and then only: to go through them at each new one
    /// would cost more than they do.
    pub(super) fn expire_events(&mut self, kind: &Kind, now: Timestamp) {
        self.events += 1;
        if !self.events.is_multiple_of(128) {
            return;
        }
        let Some(table) = self.table(&kind.group, &kind.plural) else { return };
        let oldest = now.checked_sub(EVENT_TTL).unwrap_or(Timestamp::MIN).to_string();
        let is_old = |event: &Value| event["metadata"]["creationTimestamp"].as_str().is_some_and(|at| *at < *oldest);
        let old: Vec<_> = table.objects.iter().filter(|(_, event)| is_old(event)).map(|(at, _)| at.clone()).collect();
        for at in old {
            if let Some(event) = self.get(kind, &at) {
                self.commit(kind, at, (*event).clone(), ChangeKind::Deleted);
            }
        }
    }

    /// Forgets the whole history, as a compaction of etcd does.
    pub(super) fn compact(&mut self) {
        let version = self.version;
        for table in self.tables.values_mut() {
            table.history.clear();
            table.forgotten = version;
        }
    }

    pub(super) fn subscribe(&mut self) -> Changes {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.push(sender);
        receiver
    }

    pub(super) fn audit(&mut self, entry: Audited) {
        if self.audit_limit == 0 {
            return;
        }
        while self.audit.len() >= self.audit_limit {
            self.audit.pop_front();
        }
        self.audit.push_back(entry);
    }

    pub(super) fn take_audit(&mut self) -> Vec<Audited> {
        std::mem::take(&mut self.audit).into()
    }
}

impl Table {
    /// The objects within a namespace (`None` for all) that match, in order of namespace and name.
    pub(super) fn list(&self, namespace: Option<&str>, selector: &Selector) -> Vec<Arc<Value>> {
        let within = |at: &&At| namespace.is_none_or(|namespace| at.0 == namespace);
        let found = self.objects.iter().filter(|(at, _)| within(at));
        found.map(|(_, object)| object).filter(|object| selector.matches(object)).cloned().collect()
    }

    /// The same as they were at a version.
    ///
    /// # Errors
    /// 410 where the history does not go back that far.
    pub(super) fn list_at(
        &self,
        version: u64,
        namespace: Option<&str>,
        selector: &Selector,
    ) -> Result<Vec<Arc<Value>>, Status> {
        if version < self.forgotten {
            return Err(Status::expired(version, self.forgotten));
        }
        let mut objects = self.objects.clone();
        for recorded in self.history.iter().rev().take_while(|recorded| recorded.change.version > version) {
            let Change { object, old, .. } = &*recorded.change;
            match old {
                Some(old) => objects.insert(at_of(object), old.clone()),
                None => objects.remove(&at_of(object)),
            };
        }
        let within = |at: &At| namespace.is_none_or(|namespace| at.0 == namespace);
        Ok(objects.into_iter().filter(|(at, object)| within(at) && selector.matches(object)).map(|(_, o)| o).collect())
    }

    /// The newest version that was committed at a time or before, as far as the history goes back.
    pub(super) fn version_at(&self, at: Instant) -> u64 {
        let before = self.history.iter().rev().find(|recorded| recorded.change.at <= at);
        before.map_or(self.forgotten, |recorded| recorded.change.version)
    }
}

/// Keeps the book of who owns what.
fn note_owners(
    owned: &mut BTreeMap<String, BTreeSet<(Key, At)>>,
    (key, at): (&Key, &At),
    before: Option<&Value>,
    after: Option<&Value>,
) {
    let owners = |object: Option<&Value>| object.map(|object| object["metadata"]["ownerReferences"].clone());
    let (before, after) = (owners(before).unwrap_or_default(), owners(after).unwrap_or_default());
    if before == after {
        return;
    }
    let uids = |owners: &Value| -> Vec<String> {
        let owners = owners.as_array().into_iter().flatten();
        owners.filter_map(|owner| owner["uid"].as_str().map(str::to_owned)).collect()
    };
    for uid in uids(&before) {
        if let Some(all) = owned.get_mut(&uid) {
            all.remove(&(key.clone(), at.clone()));
            if all.is_empty() {
                owned.remove(&uid);
            }
        }
    }
    for uid in uids(&after) {
        owned.entry(uid).or_default().insert((key.clone(), at.clone()));
    }
}

/// Where an object is.
pub(super) fn at_of(object: &Value) -> At {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

/// The version of an object.
pub(super) fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}
