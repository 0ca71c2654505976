//! Files of credentials: the parameters as a JSON object of strings, below the one folder that the operator was given. It
//! follows no path out of that folder, and repeats nothing of what a file says.

use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;
use windlass_sources::Secret;

use super::stores::{Content, Place};
use crate::cache::Cache;

/// How often a file is read: a mounted Secret is exchanged by a symbolic link that file notifications miss.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most bytes that a file may have: as many as a Secret.
const MAX: u64 = 1 << 20;

/// Keeps the file of `place` in `cache` for ever, and tells each change.
pub(super) async fn keep(root: Option<PathBuf>, place: &Place, cache: &Cache<Content>, changed: impl Fn() + Send) {
    let mut before: Option<String> = None;
    loop {
        let (root, path) = (root.clone(), place.name.clone());
        // Away from the tasks that serve, since a file system can hang.
        let read = tokio::task::spawn_blocking(move || read(root.as_deref(), &path)).await;
        let read = read.unwrap_or_else(|_| Err("cannot be read".to_owned()));
        let trouble = read.as_ref().err().cloned();
        // One that is just being written is whole a moment later.
        let is_passing = trouble.is_some() && before.is_none() && cache.get(&place.key()).is_some();
        before.clone_from(&trouble);
        if !is_passing && cache.tell(&place.key(), read) {
            match trouble {
                Some(why) => tracing::warn!(file = place.name, why, "file of credentials not read, retrying"),
                None => tracing::info!(file = place.name, "file of credentials read"),
            }
            changed();
        }
        sleep(INTERVAL).await;
    }
}

/// The parameters in a file, or what is wrong with it, in words that follow its path.
fn read(root: Option<&Path>, path: &str) -> Result<Content, String> {
    let Some(root) = root else {
        return Err("is read only by an operator that was given --filepath-auth-root-path".to_owned());
    };
    let relative = Path::new(path);
    if path.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err("has to be relative to the folder of --filepath-auth-root-path, without \"..\"".to_owned());
    }
    let root = root.canonicalize().map_err(|_| "the folder of --filepath-auth-root-path is not there".to_owned())?;
    let whole = root.join(relative).canonicalize().map_err(|error| brief(&error))?;
    if !whole.starts_with(&root) {
        return Err("leads out of the folder of --filepath-auth-root-path by a symbolic link".to_owned());
    }
    // Before it is opened: opening a pipe would wait for somebody to write.
    if !whole.metadata().map_err(|error| brief(&error))?.is_file() {
        return Err("is no file".to_owned());
    }
    let mut text = String::new();
    let file = std::fs::File::open(&whole).map_err(|error| brief(&error))?;
    file.take(MAX + 1).read_to_string(&mut text).map_err(|error| brief(&error))?;
    if text.len() as u64 > MAX {
        return Err("has more than 1 MiB".to_owned());
    }
    // The parser's own words may repeat a value.
    let all: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&text).map_err(|error| format!("is no JSON object of strings (line {})", error.line()))?;
    Ok(all.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

fn brief(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "is not there".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by the operator".to_owned(),
        std::io::ErrorKind::InvalidData => "is not UTF-8".to_owned(),
        _ => "cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::stores::Keeper;
    use super::*;
    use crate::cache::Scope;

    fn said(found: Result<Content, String>) -> String {
        found.expect_err("it is refused")
    }

    #[test]
    fn a_file_gives_its_parameters_and_no_path_leads_out() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| root.path().join(name);
        let of = |path: &str| read(Some(root.path()), path);
        fs::write(outside.path().join("other.json"), r#"{"token": "s3cr3t"}"#).unwrap();
        // As the kubelet mounts a Secret.
        fs::create_dir_all(at("mounted/..v1")).unwrap();
        fs::write(at("mounted/..v1/a.json"), r#"{"token": "one", "username": "u"}"#).unwrap();
        symlink("..v1", at("mounted/..data")).unwrap();
        symlink("..data/a.json", at("mounted/a.json")).unwrap();
        let found = of("mounted/a.json").unwrap();
        assert_eq!(found.get("token").map(Secret::expose), Some("one"));
        assert_eq!(found.len(), 2);

        symlink(outside.path().join("other.json"), at("link.json")).unwrap();
        symlink(outside.path(), at("folder")).unwrap();
        for path in ["link.json", "folder/other.json"] {
            assert!(said(of(path)).starts_with("leads out of the folder"), "{path}");
        }
        let absolute = outside.path().join("other.json");
        let parent = format!("../{}/other.json", outside.path().file_name().unwrap().to_string_lossy());
        for path in ["", "..", &parent, "mounted/../mounted/a.json", absolute.to_str().unwrap(), "/etc/passwd"] {
            assert!(said(of(path)).starts_with("has to be relative"), "{path}");
        }
        assert_eq!(said(of("none.json")), "is not there");
        assert_eq!(said(of("mounted")), "is no file");
        assert!(said(read(None, "a.json")).contains("--filepath-auth-root-path"));
        assert!(said(read(Some(&at("gone")), "a.json")).ends_with("is not there"));
    }

    #[test]
    fn nothing_of_a_file_that_is_wrong_is_repeated() {
        let root = tempfile::tempdir().unwrap();
        let of = |text: &[u8]| {
            fs::write(root.path().join("f"), text).unwrap();
            said(read(Some(root.path()), "f"))
        };
        for text in
            ["\"s3cr3t\"", "s3cr3t", "{\"token\": {\"s3cr3t\": 1}}", "{\"token\": 5}", "[\"s3cr3t\"]", "{\n\"s3cr3t"]
        {
            let why = of(text.as_bytes());
            assert!(why.starts_with("is no JSON object of strings (line ") && !why.contains("s3cr3t"), "{why}");
        }
        assert_eq!(of(b"\xff\xfe"), "is not UTF-8");
        assert_eq!(of(&vec![b' '; (MAX + 1) as usize]), "has more than 1 MiB");
    }

    #[tokio::test]
    async fn a_changed_file_is_told_and_one_that_is_half_written_is_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(root.path().join("a.json"), text).unwrap();
        write(r#"{"token": "one"}"#);
        let place = Place { keeper: Keeper::File, namespace: String::new(), name: "a.json".to_owned() };
        let cache = Arc::new(Cache::new(&[Scope::default()]));
        let told = Arc::new(AtomicUsize::new(0));
        let (kept, count, of, folder) = (cache.clone(), told.clone(), place.clone(), root.path().to_owned());
        let task = tokio::spawn(async move {
            keep(Some(folder), &of, &kept, || {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .await;
        });
        let token = || cache.get(&place.key()).and_then(|content| content.get("token").map(|t| t.expose().to_owned()));
        let until = async |wanted: Option<&str>| {
            let wait = async {
                while token().as_deref() != wanted {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
        };
        until(Some("one")).await;
        write(r#"{"token": "two"}"#);
        until(Some("two")).await;
        assert_eq!(told.load(Ordering::SeqCst), 2, "each of the two is told once");
        fs::remove_file(root.path().join("a.json")).unwrap();
        until(None).await;
        assert_eq!(cache.trouble().as_deref(), Some("is not there"));
        task.abort();
    }
}
