//! The audit log of the rig's API server: who asked for what, when, and what it was answered.
//!
//! Bodies are there for writes of replicas, HPAs and scaled objects, and for the scales that the HPA controller reads;
//! everything else is kept at the level of metadata.
//! What `spec.replicas` was at each moment is in a [`crate::ReplicaLog`]; who wrote what, and how often, is here.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::Value;

use crate::admin::Admin;
use crate::eventually;

/// How long the API server may take to answer, and the log to show it.
const SETTLE: Duration = Duration::from_secs(30);
/// Where the API server notes by which token a ServiceAccount came.
pub(crate) const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// One request, once it was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// `system:serviceaccount:NAMESPACE:NAME`, or a user's name.
    pub user: String,
    /// The credential it came with: for a ServiceAccount's token `JTI=...`, another one for each token; or empty.
    pub credential: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group; empty for the core group and for paths that are no resource.
    pub group: String,
    /// Plural of the resource; empty for paths that are no resource.
    pub resource: String,
    /// `scale`, `status`, ...; or empty.
    pub subresource: String,
    /// Empty for resources of the cluster.
    pub namespace: String,
    /// Empty for lists and for creations by generated name.
    pub name: String,
    /// The HTTP status of the answer; 0 if there was none.
    pub code: u16,
    /// When the API server had received it.
    pub received: Timestamp,
    /// When it had answered.
    pub answered: Timestamp,
    /// What the client calls itself.
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    /// What was sent, where the audit policy keeps it: writes to `/scale`, HPAs and scaled objects.
    pub body: Option<Value>,
    /// What was answered, where the audit policy keeps it: writes to `/scale`, and what the HPA controller reads there.
    pub answer: Option<Value>,
}

impl Entry {
    /// Whether it asked for a change, granted or not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(&*self.verb, "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether it was answered with success.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// `resource` or `resource/subresource`, as a ClusterRole names it.
    #[must_use]
    pub fn target(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The log of one control plane. Clones share what has been read.
#[derive(Debug, Clone)]
pub struct Audit {
    file: PathBuf,
    client: Admin,
    read: Arc<Mutex<Read>>,
}

#[derive(Debug, Default)]
struct Read {
    /// Bytes read of each file, by inode: a rotated file gets another name.
    offsets: HashMap<u64, u64>,
    entries: Vec<Entry>,
}

impl Audit {
    /// The log in `file`, of the API server that `client` speaks to.
    #[must_use]
    pub fn new(file: PathBuf, client: Client) -> Self {
        Self { file, client: Admin(client), read: Arc::default() }
    }

    /// All requests answered so far, rotated files too, in the order of their arrival. The last few milliseconds
    /// may be missing: see [`Audit::settled`].
    ///
    /// # Errors
    /// When a file cannot be read, or a line is no audit event.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        for path in self.files()? {
            let mut file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let offset = read.offsets.entry(file.metadata()?.ino()).or_default();
            file.seek(SeekFrom::Start(*offset))?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            // The last line may be half written; it is read again.
            let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
            *offset += u64::try_from(complete.len())?;
            for line in complete.lines() {
                let entry = parse(line).with_context(|| format!("in {}: {line}", path.display()))?;
                read.entries.extend(entry);
            }
        }
        read.entries.sort_by_key(|entry| entry.received);
        Ok(read.entries.clone())
    }

    /// All requests answered before this call: a request of its own is made, and waited for in the log.
    ///
    /// # Errors
    /// When that one does not appear.
    pub async fn settled(&self) -> anyhow::Result<Vec<Entry>> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let marker = format!("audit-marker-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let maps = Api::<ConfigMap>::namespaced(self.client.0.clone(), "default");
        eventually(SETTLE, "the API server answers", async || Ok(maps.get_opt(&marker).await?)).await?;
        eventually(SETTLE, "the audit log shows a request", async || {
            let entries = self.entries()?;
            ensure!(entries.iter().rev().any(|entry| entry.name == marker), "{marker} is not in it");
            Ok(entries)
        })
        .await
    }

    /// Requests that arrived at `start` or later, settled.
    ///
    /// # Errors
    /// As [`Audit::settled`].
    pub async fn since(&self, start: Timestamp) -> anyhow::Result<Vec<Entry>> {
        let mut entries = self.settled().await?;
        entries.retain(|entry| entry.received >= start);
        Ok(entries)
    }

    /// Changes asked for by one user since `start`, granted or not, settled.
    ///
    /// # Errors
    /// As [`Audit::settled`].
    pub async fn writes_by(&self, user: &str, start: Timestamp) -> anyhow::Result<Vec<Entry>> {
        let mut entries = self.since(start).await?;
        entries.retain(|entry| entry.is_write() && entry.user == user);
        Ok(entries)
    }

    /// Writes to `/scale` of one object by anybody, granted or not, settled.
    ///
    /// # Errors
    /// As [`Audit::settled`].
    pub async fn scale_writes(&self, namespace: &str, name: &str) -> anyhow::Result<Vec<Entry>> {
        let mut entries = self.settled().await?;
        entries.retain(|entry| {
            entry.is_write() && entry.subresource == "scale" && entry.namespace == namespace && entry.name == name
        });
        Ok(entries)
    }

    /// Requests refused for lack of rights (403), settled.
    ///
    /// # Errors
    /// As [`Audit::settled`].
    pub async fn refused(&self, user: &str) -> anyhow::Result<Vec<Entry>> {
        let mut entries = self.settled().await?;
        entries.retain(|entry| entry.code == 403 && entry.user == user);
        Ok(entries)
    }

    /// The log itself and what was rotated away from it: `audit-<time>.log` beside `audit.log`.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let dir = self.file.parent().unwrap_or_else(|| Path::new("."));
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut files: Vec<PathBuf> = fs::read_dir(dir)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
        files.retain(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            *file == self.file || (name.starts_with(&format!("{stem}-")) && name.ends_with(".log"))
        });
        Ok(files)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: RawUser,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: RawObject,
    #[serde(default)]
    response_status: RawStatus,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    request_object: Option<Value>,
    response_object: Option<Value>,
}

#[derive(Deserialize)]
struct RawUser {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: HashMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawObject {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawStatus {
    code: u16,
}

/// `None` for a stage before the last: a watch has one when it begins.
fn parse(line: &str) -> anyhow::Result<Option<Entry>> {
    let raw: Raw = serde_json::from_str(line)?;
    if raw.stage != "ResponseComplete" && raw.stage != "Panic" {
        return Ok(None);
    }
    Ok(Some(Entry {
        user: raw.user.username,
        credential: raw.user.extra.get(CREDENTIAL).and_then(|ids| ids.first()).cloned().unwrap_or_default(),
        verb: raw.verb,
        group: raw.object_ref.api_group,
        resource: raw.object_ref.resource,
        subresource: raw.object_ref.subresource,
        namespace: raw.object_ref.namespace,
        name: raw.object_ref.name,
        code: raw.response_status.code,
        received: raw.request_received_timestamp,
        answered: raw.stage_timestamp,
        user_agent: raw.user_agent,
        uri: raw.request_uri,
        body: raw.request_object,
        answer: raw.response_object,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"x",
        "stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments/web/scale?fieldManager=windlass",
        "verb":"update","user":{"username":"system:serviceaccount:windlass-system:windlass","groups":["g"],
        "extra":{"authentication.kubernetes.io/credential-id":["JTI=7"]}},
        "sourceIPs":["127.0.0.1"],"userAgent":"windlass/0.1","objectRef":{"resource":"deployments","namespace":"a",
        "name":"web","apiGroup":"apps","apiVersion":"v1","subresource":"scale"},
        "responseStatus":{"metadata":{},"code":409},"requestReceivedTimestamp":"2026-11-22T11:00:00.123456Z",
        "stageTimestamp":"2026-11-22T11:00:00.125456Z","annotations":{}}"#;

    #[test]
    fn a_write_to_scale_is_read_whole() {
        let entry = parse(SCALE).unwrap().unwrap();
        assert_eq!((entry.user.as_str(), entry.target().as_str()), (crate::OPERATOR_USER, "deployments/scale"));
        assert_eq!((entry.namespace.as_str(), entry.name.as_str(), entry.code), ("a", "web", 409));
        assert!(entry.is_write() && !entry.succeeded());
        assert_eq!(entry.credential, "JTI=7");
        assert_eq!(entry.received, "2026-11-22T11:00:00.123456Z".parse().unwrap());
    }

    #[test]
    fn the_begin_of_a_watch_is_no_entry() {
        assert_eq!(parse(&SCALE.replace("ResponseComplete", "ResponseStarted")).unwrap(), None);
        assert!(parse("{}").is_err());
    }
}
