//! The environment of a workload's containers, as far as its pod template says it: values, and where the others stand. It
//! reads a template; it never fetches a Secret.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container as PodContainer, EnvFromSource, EnvVar, PodTemplateSpec};
use serde::{Deserialize, Serialize};
use windlass_sources::Secret;

/// What a variable's value is kept in, if not in the template itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

/// One Secret or ConfigMap of some namespace.
pub type Named = (StoreKind, String);

/// One container's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    name: String,
    from: Vec<(String, Named)>,
    variables: Vec<(String, Value)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Plain(Secret),
    Key(Named, String),
    /// From the pod's own fields, which there are none of.
    Unknowable,
}

/// What is needed of a pod template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its containers.
    pub containers: Vec<Container>,
    /// The name of the ServiceAccount that it runs as.
    pub service_account: String,
}

/// Cheap to clone.
pub type Containers = Arc<Pod>;

/// The part of a pod template that is needed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Template(PodTemplateSpec);

impl Template {
    pub(crate) fn containers(self) -> Option<Containers> {
        let spec = self.0.spec?;
        let account = spec.service_account_name.filter(|name| !name.is_empty());
        Some(Arc::new(Pod {
            containers: spec.containers.into_iter().map(Container::from).collect(),
            service_account: account.unwrap_or_else(|| "default".to_owned()),
        }))
    }
}

impl From<PodContainer> for Container {
    fn from(container: PodContainer) -> Self {
        Self {
            name: container.name,
            from: container.env_from.into_iter().flatten().filter_map(source).collect(),
            variables: container.env.into_iter().flatten().map(variable).collect(),
        }
    }
}

fn source(source: EnvFromSource) -> Option<(String, Named)> {
    let secret = source.secret_ref.map(|secret| (StoreKind::Secret, secret.name));
    let named = secret.or_else(|| source.config_map_ref.map(|map| (StoreKind::ConfigMap, map.name)))?;
    Some((source.prefix.unwrap_or_default(), named))
}

fn variable(variable: EnvVar) -> (String, Value) {
    let from = variable.value_from.unwrap_or_default();
    let value = match (variable.value, from.secret_key_ref, from.config_map_key_ref) {
        (Some(value), ..) => Value::Plain(Secret::new(value)),
        (None, Some(secret), _) => Value::Key((StoreKind::Secret, secret.name), secret.key),
        (None, None, Some(map)) => Value::Key((StoreKind::ConfigMap, map.name), map.key),
        (None, None, None) if from.field_ref.is_some() || from.resource_field_ref.is_some() => Value::Unknowable,
        (None, None, None) => Value::Plain(Secret::new("")),
    };
    (variable.name, value)
}

/// The container of this name, or the first.
#[must_use]
pub fn find<'a>(containers: &'a [Container], name: Option<&str>) -> Option<&'a Container> {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => containers.iter().find(|container| container.name == name),
        None => containers.first(),
    }
}

impl Container {
    /// The Secrets and ConfigMaps in which `variables` may stand.
    #[must_use]
    pub fn needs<'a>(&'a self, variables: &BTreeSet<&'a str>) -> BTreeSet<Named> {
        let (mut needs, mut wanted) = (BTreeSet::new(), variables.clone());
        // From the end, as a value may name others, which stand before it.
        for (name, value) in self.variables.iter().rev() {
            match value {
                _ if !wanted.contains(name.as_str()) => {}
                Value::Plain(text) => wanted.extend(references(text.expose())),
                Value::Key(named, _) => drop(needs.insert(named.clone())),
                Value::Unknowable => {}
            }
        }
        let told = |name: &str| self.variables.iter().any(|(known, _)| known == name);
        if wanted.iter().any(|name| !told(name)) {
            needs.extend(self.from.iter().map(|(_, named)| named.clone()));
        }
        needs
    }

    /// The values of all variables that are known, with `$(NAME)` of those before put in (Kubernetes, "Define dependent
    /// environment variables"). `read` gives the content of a Secret or ConfigMap; of that, what is no text is no variable.
    pub fn resolve<'a>(
        &self,
        read: impl Fn(&Named) -> Option<Arc<BTreeMap<String, Secret>>> + 'a,
    ) -> BTreeMap<String, Secret> {
        let mut all = BTreeMap::new();
        for (prefix, named) in &self.from {
            let content = read(named);
            for (key, value) in content.iter().flat_map(|content| content.iter()).filter(|(_, value)| value.is_text()) {
                all.insert(format!("{prefix}{key}"), value.clone());
            }
        }
        for (name, value) in &self.variables {
            let found = match value {
                Value::Plain(text) => Some(Secret::new(expanded(text.expose(), &all))),
                Value::Key(named, key) => {
                    read(named).and_then(|content| content.get(key).filter(|value| value.is_text()).cloned())
                }
                Value::Unknowable => None,
            };
            match found {
                Some(found) => all.insert(name.clone(), found),
                None => all.remove(name),
            };
        }
        all
    }
}

/// The names in `$(NAME)`.
fn references(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("$(").filter_map(|(at, _)| text[at + 2..].split_once(')').map(|(name, _)| name))
}

fn expanded(text: &str, known: &BTreeMap<String, Secret>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
            continue;
        }
        match rest.strip_prefix("$(").and_then(|inner| inner.split_once(')')) {
            Some((name, after)) if known.contains_key(name) => {
                out.push_str(known.get(name).map_or("", Secret::expose));
                rest = after;
            }
            _ => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container() -> Container {
        let pod: PodContainer = serde_json::from_value(json!({
            "name": "app",
            "envFrom": [{"prefix": "P_", "secretRef": {"name": "all"}}, {"configMapRef": {"name": "map"}}],
            "env": [
                {"name": "USER", "value": "u"},
                {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
                {"name": "URL", "value": "amqp://$(USER):$(PASSWORD)@$(HOST)/$$(USER)$(NOBODY)"},
                {"name": "HOST", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "host"}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
        }))
        .expect("the test's own container");
        pod.into()
    }

    #[test]
    fn values_come_from_where_the_template_says_and_name_those_before() {
        let read = |named: &Named| {
            let content: &[(&str, &str)] = match named.1.as_str() {
                "all" => &[("A", "1")],
                "map" => &[("HOST", "from-all")],
                "s" => &[("pw", "p")],
                "m" => &[("host", "h")],
                _ => &[],
            };
            let mut content: BTreeMap<_, _> = content.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect();
            content.insert("FILE".to_owned(), Secret::of_bytes(vec![0xff]));
            Some(Arc::new(content))
        };
        let all = container().resolve(read);
        let get = |name: &str| all.get(name).map(Secret::expose);
        assert_eq!(get("P_A"), Some("1"));
        assert_eq!(get("URL"), Some("amqp://u:p@from-all/$(USER)$(NOBODY)"), "of the variables before it");
        assert_eq!(get("HOST"), Some("h"));
        assert_eq!(get("NODE"), None);
        assert_eq!(get("P_FILE"), None, "what is no text is no variable");
    }

    #[test]
    fn only_what_is_needed_is_fetched() {
        let needs = |names: &[&str]| container().needs(&names.iter().copied().collect());
        let of = |names: &[(StoreKind, &str)]| names.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect();
        assert_eq!(needs(&["USER"]), BTreeSet::new());
        assert_eq!(needs(&["PASSWORD"]), of(&[(StoreKind::Secret, "s")]));
        assert_eq!(needs(&["HOST"]), of(&[(StoreKind::ConfigMap, "m")]));
        let elsewhere = [(StoreKind::Secret, "all"), (StoreKind::ConfigMap, "map")];
        assert_eq!(needs(&["P_A"]), of(&elsewhere));
        assert!(needs(&["URL"]).contains(&(StoreKind::Secret, "s".to_owned())));
    }

    #[test]
    fn a_container_is_found_by_name_or_is_the_first() {
        let all = [container(), Container { name: "side".to_owned(), from: vec![], variables: vec![] }];
        let name = |name| find(&all, name).map(|container| container.name.as_str());
        assert_eq!(
            (name(None), name(Some("")), name(Some("side")), name(Some("x"))),
            (Some("app"), Some("app"), Some("side"), None)
        );
    }
}
