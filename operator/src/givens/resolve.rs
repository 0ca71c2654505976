//! From a spec's references to values, or to what stands in the way. It looks at what is known; it waits for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use windlass_crd::{AuthenticationRef, KeyReference, ScaledObjectSpec, TriggerAuthenticationSpec};
use windlass_sources::{ConfigError, Given, Secret};

use super::{Givens, Known, Place, SeenAuthentication};
use crate::environment::{Container, Containers, StoreKind, find};
use crate::key::ObjectKey;

const FROM_ENV: &str = "FromEnv";

/// What the triggers of an object are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// This, in the order of the triggers.
    Given(Vec<Given>),
    /// Something has not been heard of yet.
    NotYet,
    /// Something is not there, or is wrong.
    Wrong(Vec<ConfigError>),
}

/// Whether anything in the spec refers to elsewhere at all.
#[must_use]
pub fn refers(spec: &ScaledObjectSpec) -> bool {
    spec.triggers.iter().any(|trigger| {
        trigger.authentication_ref.is_some() || trigger.metadata.keys().any(|key| key.ends_with(FROM_ENV))
    })
}

/// The state of one resolution.
struct Resolving<'a> {
    givens: &'a Arc<Givens>,
    key: &'a ObjectKey,
    spec: &'a ScaledObjectSpec,
    containers: Option<&'a Containers>,
    places: BTreeSet<Place>,
    errors: Vec<ConfigError>,
    not_yet: bool,
}

impl Givens {
    /// Resolves everything that the triggers of `key` refer to, and watches it from now on. `containers`: those of the
    /// target, if it has any.
    #[must_use]
    pub fn resolve(
        self: &Arc<Self>,
        key: &ObjectKey,
        spec: &ScaledObjectSpec,
        containers: Option<&Containers>,
    ) -> Resolution {
        let (places, errors) = (BTreeSet::new(), Vec::new());
        let mut resolving = Resolving { givens: self, key, spec, containers, places, errors, not_yet: false };
        let given = (0..spec.triggers.len()).map(|index| resolving.trigger(index)).collect();
        let Resolving { places, errors, not_yet, .. } = resolving;
        self.refer(key, Some(places));
        match (errors.is_empty(), not_yet) {
            (false, _) => Resolution::Wrong(errors),
            (true, true) => Resolution::NotYet,
            (true, false) => Resolution::Given(given),
        }
    }
}

impl Resolving<'_> {
    fn trigger(&mut self, index: usize) -> Given {
        let mut given = Given::default();
        let Some(trigger) = self.spec.triggers.get(index) else { return given };
        let keys = trigger.metadata.iter().filter(|(key, _)| key.ends_with(FROM_ENV));
        let variables: BTreeSet<&str> = keys.map(|(_, variable)| variable.trim()).filter(|v| !v.is_empty()).collect();
        given.environment = self.environment(None, &variables);
        if let Some(reference) = &trigger.authentication_ref
            && !["cpu", "memory"].contains(&trigger.kind.as_str())
        {
            self.authentication(index, reference, &mut given);
        }
        given
    }

    fn error(&mut self, index: usize, problem: impl Into<String>, fix: &str) {
        let field = format!("spec.triggers[{index}].authenticationRef");
        self.errors.push(ConfigError { field, problem: problem.into(), fix: fix.to_owned() });
    }

    fn authentication(&mut self, index: usize, reference: &AuthenticationRef, given: &mut Given) {
        let (kind, cluster) = match reference.kind.as_deref() {
            None | Some("" | "TriggerAuthentication") => ("TriggerAuthentication", false),
            Some("ClusterTriggerAuthentication") => ("ClusterTriggerAuthentication", true),
            Some(other) => {
                let fix = "write TriggerAuthentication or ClusterTriggerAuthentication as its kind";
                return self.error(index, format!("{other:?} is no kind of authentication"), fix);
            }
        };
        let name = format!("{kind} {:?}", reference.name);
        let (cache, namespace) = if cluster {
            (&self.givens.cluster_authentications, "")
        } else {
            (&self.givens.authentications, &*self.key.namespace)
        };
        let Some(seen) = cache.get(&ObjectKey::of(self.key.group, namespace, &reference.name)) else {
            match (cache.is_listed(), cache.trouble()) {
                (true, _) => self.error(index, format!("{name} is not there"), "create it, or correct the name"),
                (false, Some(why)) => {
                    self.error(index, format!("{name} cannot be read: {why}"), "check the operator's rights");
                }
                (false, None) => self.not_yet = true,
            }
            return;
        };
        let SeenAuthentication { spec, allowed_hosts, .. } = &*seen;
        given.allowed_hosts.clone_from(allowed_hosts);
        match spec {
            Ok(spec) => self.parameters(index, &name, (spec, cluster), given),
            Err(why) => self.error(index, format!("{name} cannot be understood: {why}"), "correct it"),
        }
    }

    fn parameters(
        &mut self,
        index: usize,
        name: &str,
        (spec, cluster): (&TriggerAuthenticationSpec, bool),
        given: &mut Given,
    ) {
        match spec.identity() {
            Ok(identity) => given.identity = identity,
            Err(errors) => {
                for error in errors {
                    self.error(index, format!("{name}: {}: {}", error.field, error.problem), &error.fix);
                }
            }
        }
        let namespace = if cluster { self.givens.namespace.clone() } else { self.key.namespace.to_string() };
        let references = [
            (StoreKind::Secret, "secretTargetRef", &spec.secret_target_ref),
            (StoreKind::ConfigMap, "configMapTargetRef", &spec.config_map_target_ref),
        ];
        for (kind, field, references) in references {
            for (place, reference) in references.iter().flatten().enumerate() {
                let at = format!("{name}: spec.{field}[{place}]");
                let Some(value) = self.value(index, &at, (kind, &namespace), reference) else { continue };
                given.parameters.insert(reference.parameter.clone(), value);
            }
        }
        for (place, reference) in spec.env.iter().flatten().enumerate() {
            let variables = BTreeSet::from([reference.name.as_str()]);
            let not_yet = self.not_yet;
            let mut found = self.environment(reference.container_name.as_deref(), &variables);
            match found.remove(&reference.name) {
                Some(value) => drop(given.parameters.insert(reference.parameter.clone(), value)),
                None if self.not_yet || not_yet => {}
                None => {
                    let problem = format!(
                        "{name}: spec.env[{place}]: the target's container has no variable {:?}",
                        reference.name
                    );
                    self.error(index, problem, "correct its name or containerName");
                }
            }
        }
    }

    /// The value of one key of one Secret or ConfigMap.
    fn value(
        &mut self,
        index: usize,
        at: &str,
        (kind, namespace): (StoreKind, &str),
        reference: &KeyReference,
    ) -> Option<Secret> {
        let what = if kind == StoreKind::Secret { "Secret" } else { "ConfigMap" };
        let KeyReference { name, key, .. } = reference;
        let place = Place { kind, namespace: namespace.to_owned(), name: name.clone() };
        match self.known(place) {
            Known::Found(content) => {
                let value = content.get(key).cloned();
                if value.is_none() {
                    let problem = format!("{at}: the {what} {namespace}/{name} has no text under the key {key:?}");
                    self.error(index, problem, "add the key, or correct its name");
                }
                value
            }
            Known::Missing => {
                self.error(
                    index,
                    format!("{at}: there is no {what} {namespace}/{name}"),
                    "create it, or correct the name",
                );
                None
            }
            Known::Trouble(why) => {
                let problem = format!("{at}: the {what} {namespace}/{name} cannot be read: {why}");
                self.error(index, problem, "check the operator's rights");
                None
            }
            Known::NotYet => {
                self.not_yet = true;
                None
            }
        }
    }

    fn known(&mut self, place: Place) -> Known {
        let known = self.givens.known(&place);
        self.places.insert(place);
        known
    }

    /// Those of `variables` that the container of this name has, else the one that the spec names, else the first.
    fn environment(&mut self, container: Option<&str>, variables: &BTreeSet<&str>) -> BTreeMap<String, Secret> {
        let named = container.or(self.spec.scale_target_ref.env_source_container_name.as_deref());
        let found = self.containers.and_then(|all| find(all, named)).filter(|_| !variables.is_empty()).cloned();
        let Some(container) = found else { return BTreeMap::new() };
        let contents = self.contents(&container, variables);
        let mut all = container.resolve(|named| contents.get(named).cloned());
        all.retain(|name, _| variables.contains(name.as_str()));
        all
    }

    fn contents(
        &mut self,
        container: &Container,
        variables: &BTreeSet<&str>,
    ) -> BTreeMap<crate::environment::Named, Arc<super::Content>> {
        let mut contents = BTreeMap::new();
        let needs = container.needs(&variables.iter().copied().collect());
        for (kind, name) in needs {
            let place = Place { kind, namespace: self.key.namespace.to_string(), name: name.clone() };
            match self.known(place) {
                Known::Found(content) => drop(contents.insert((kind, name), content)),
                Known::NotYet => self.not_yet = true,
                // A variable that is not there is told by whoever needs it.
                Known::Missing | Known::Trouble(_) => {}
            }
        }
        contents
    }
}
