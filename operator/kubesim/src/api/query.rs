//! What a request asks for: its path, its query and its verb. Parsing only.

use std::collections::BTreeMap;

use super::write::Part;

/// A request about objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: String,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Objects.
    Objects(Asked),
    /// `/api`, `/apis`, `/api/v1`, `/apis/GROUP`, `/apis/GROUP/VERSION`.
    Discovery(Vec<String>),
    /// `/version`.
    Version,
    /// Health.
    Health,
    /// Anything else.
    Unknown,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        match words[..] {
            ["version"] => Self::Version,
            ["healthz" | "livez" | "readyz", ..] => Self::Health,
            ["api"] | ["apis"] | ["api", "v1"] | ["apis", _] | ["apis", _, _] => Self::Discovery(parts),
            ["api", version, ref rest @ ..] => objects("", version, rest),
            ["apis", group, version, ref rest @ ..] => objects(group, version, rest),
            _ => Self::Unknown,
        }
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Route {
    let asked = |plural: &str, namespace: Option<&str>, name: Option<&str>, subresource: &str| {
        Route::Objects(Asked {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.to_owned(),
        })
    };
    match *rest {
        ["namespaces", name, part @ ("status" | "finalize")] => asked("namespaces", None, Some(name), part),
        ["namespaces", namespace, plural] => asked(plural, Some(namespace), None, ""),
        ["namespaces", namespace, plural, name] => asked(plural, Some(namespace), Some(name), ""),
        ["namespaces", namespace, plural, name, part] => asked(plural, Some(namespace), Some(name), part),
        [plural] => asked(plural, None, None, ""),
        [plural, name] => asked(plural, None, Some(name), ""),
        [plural, name, part] => asked(plural, None, Some(name), part),
        _ => Route::Unknown,
    }
}

impl Asked {
    pub(super) fn part(&self) -> Option<Part> {
        match self.subresource.as_str() {
            "" => Some(Part::Main),
            "status" => Some(Part::Status),
            "scale" => Some(Part::Scale),
            _ => None,
        }
    }
}

/// The parameters of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.text(name), "true" | "1")
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }
}

/// Percent-decoding; a plus is a blank.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).unwrap_or(0);
                u8::try_from(digit() * 16 + digit()).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects() {
        let of = |path: &str| match Route::of(path) {
            Route::Objects(a) => format!("{}|{}|{:?}|{:?}|{}", a.group, a.plural, a.namespace, a.name, a.subresource),
            other => format!("{other:?}"),
        };
        for (path, wanted) in [
            ("/api/v1/namespaces", "|namespaces|None|None|"),
            ("/api/v1/namespaces/shop", "|namespaces|None|Some(\"shop\")|"),
            ("/api/v1/namespaces/shop/pods", "|pods|Some(\"shop\")|None|"),
            ("/apis/apps/v1/deployments", "apps|deployments|None|None|"),
            (
                "/apis/apps/v1/namespaces/shop/deployments/web/scale",
                "apps|deployments|Some(\"shop\")|Some(\"web\")|scale",
            ),
            ("/version", "Version"),
        ] {
            assert_eq!(of(path), wanted, "{path}");
        }
        let query = Query::parse(Some("labelSelector=a%3Db%2Cc&watch=true&limit=5"));
        assert_eq!(query.text("labelSelector"), "a=b,c");
        assert!(query.is_set("watch") && query.number("limit") == Some(5));
    }
}
