//! A Lease API in memory with the API server's rules (a version for each change, none for a write that changes nothing,
//! conflicts), and a network before it that can delay, refuse and lose.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::*;

/// What the API server keeps. Clones are the same server.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeApi(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lease: Option<Lease>,
    version: u64,
}

impl Kept {
    fn store(&mut self, mut lease: Lease) -> Lease {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }
}

impl FakeApi {
    /// An API with the Lease as the manifests install it: without a holder.
    pub(super) fn installed() -> Self {
        let api = Self::default();
        let mut lease = Lease::default();
        lease.metadata.name = Some(LEASE_NAME.to_owned());
        api.create(lease).expect("there is none");
        api
    }

    pub(super) fn read(&self) -> Option<Lease> {
        self.0.lock().expect("no panic").lease.clone()
    }

    pub(super) fn create(&self, lease: Lease) -> Result<Lease, StoreError> {
        let mut kept = self.0.lock().expect("no panic");
        if kept.lease.is_some() { Err(StoreError::Changed) } else { Ok(kept.store(lease)) }
    }

    pub(super) fn replace(&self, lease: Lease) -> Result<Lease, StoreError> {
        let mut kept = self.0.lock().expect("no panic");
        match &kept.lease {
            Some(old) if *old == lease => Ok(lease),
            Some(old) if old.metadata.resource_version == lease.metadata.resource_version => Ok(kept.store(lease)),
            _ => Err(StoreError::Changed),
        }
    }

    /// A stranger deletes the Lease.
    pub(super) fn delete(&self) {
        self.0.lock().expect("no panic").lease = None;
    }

    /// A stranger edits the Lease, if there is one.
    pub(super) fn edit(&self, change: impl FnOnce(&mut Lease)) {
        let mut kept = self.0.lock().expect("no panic");
        if let Some(mut lease) = kept.lease.clone() {
            change(&mut lease);
            kept.store(lease);
        }
    }

    /// A stranger writes a holder.
    pub(super) fn set_holder(&self, name: &str) {
        self.edit(|lease| {
            lease.spec.get_or_insert_default().holder_identity = Some(name.to_owned());
        });
    }

    pub(super) fn spec(&self) -> k8s_openapi::api::coordination::v1::LeaseSpec {
        self.read().expect("a lease").spec.expect("a spec")
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    /// It is done and answered.
    Answered,
    /// It is refused with a server error, and not done.
    Refused,
    /// It is done, and the answer is lost.
    AnswerLost,
}

/// How the network treats a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passage {
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) fate: Fate,
}

impl Passage {
    pub(super) const GOOD: Self =
        Self { before: Duration::from_millis(1), after: Duration::from_millis(1), fate: Fate::Answered };

    pub(super) const fn with(fate: Fate) -> Self {
        Self { fate, ..Self::GOOD }
    }
}

/// One replica's way to the API. Clones are the same way.
#[derive(Debug, Clone)]
pub(super) struct Network {
    api: FakeApi,
    rules: Arc<Mutex<NetworkRules>>,
}

#[derive(Debug)]
struct NetworkRules {
    /// Each request takes the first and puts it back at the end; if there is none, `reads` and `writes` hold.
    schedule: VecDeque<Passage>,
    reads: Passage,
    writes: Passage,
}

impl Network {
    pub(super) fn to(api: &FakeApi) -> Self {
        let rules = NetworkRules { schedule: VecDeque::new(), reads: Passage::GOOD, writes: Passage::GOOD };
        Self { api: api.clone(), rules: Arc::new(Mutex::new(rules)) }
    }

    pub(super) fn schedule(&self, schedule: impl IntoIterator<Item = Passage>) {
        self.rules.lock().expect("no panic").schedule = schedule.into_iter().collect();
    }

    pub(super) fn reads(&self, passage: Passage) {
        self.rules.lock().expect("no panic").reads = passage;
    }

    pub(super) fn writes(&self, passage: Passage) {
        self.rules.lock().expect("no panic").writes = passage;
    }

    fn passage(&self, write: bool) -> Passage {
        let mut rules = self.rules.lock().expect("no panic");
        match rules.schedule.pop_front() {
            Some(next) => {
                rules.schedule.push_back(next);
                next
            }
            None if write => rules.writes,
            None => rules.reads,
        }
    }

    /// The server's side goes on whatever the client does, as it does in a real network.
    async fn send<T: Send + 'static>(
        &self,
        write: bool,
        request: impl FnOnce(&FakeApi) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let passage = self.passage(write);
        let api = self.api.clone();
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            tokio::time::sleep(passage.before).await;
            let result = match passage.fate {
                Fate::Refused => Err(StoreError::Failed("503 service unavailable".into())),
                Fate::Answered | Fate::AnswerLost => request(&api),
            };
            tokio::time::sleep(passage.after).await;
            if matches!(passage.fate, Fate::AnswerLost) {
                // The client waits for its own deadline.
                tokio::time::sleep(Duration::from_secs(3_600)).await;
            }
            let _ = answer.send(result);
        });
        answered.await.expect("the server answers or is silent")
    }
}

impl LeaseStore for Network {
    async fn read(&self) -> Result<Option<Lease>, StoreError> {
        self.send(false, |api| Ok(api.read())).await
    }

    async fn create(&self, lease: Lease) -> Result<Lease, StoreError> {
        self.send(true, |api| api.create(lease)).await
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, StoreError> {
        self.send(true, |api| api.replace(lease)).await
    }
}
