//! From a spec's references to values, or to what stands in the way. It looks at what is known; it waits for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use windlass_crd::{
    AuthenticationRef, Identity, KeyReference, ScaledObjectSpec, SecretKey, TriggerAuthenticationSpec, WorkloadRole,
};
use windlass_sources::{ConfigError, Given, PodIdentity, Secret, Service, TriggerInput, takes_bytes};

use super::token::TOKEN;
use super::{Givens, Keeper, Known, Place, SeenAuthentication};
use crate::environment::{Container, Containers, find};
use crate::key::ObjectKey;

const FROM_ENV: &str = "FromEnv";
/// Where EKS has a ServiceAccount name its role.
const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

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
        let aggregates = || {
            let given = Given::default();
            windlass_sources::service(TriggerInput::new(&trigger.kind, &trigger.metadata, &given)).is_some()
        };
        trigger.authentication_ref.is_some()
            || trigger.metadata.keys().any(|key| key.ends_with(FROM_ENV))
            || aggregates()
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
        let input = TriggerInput {
            namespace: &self.key.namespace,
            ..TriggerInput::new(&trigger.kind, &trigger.metadata, &given)
        };
        if let Some(service) = windlass_sources::service(input) {
            given.endpoints = self.endpoints(index, service);
        }
        given
    }

    /// The addresses behind a Service, of one family: pods of two families have an address of each.
    fn endpoints(&mut self, index: usize, service: Service) -> Vec<IpAddr> {
        let Service { namespace, name } = service;
        let at = format!("the endpoints of the Service {namespace}/{name}");
        match self.known(Place { keeper: Keeper::Endpoints, namespace, name }) {
            Known::Found(content) => {
                let mut all: Vec<IpAddr> = content.keys().filter_map(|address| address.parse().ok()).collect();
                if all.iter().any(IpAddr::is_ipv4) {
                    all.retain(IpAddr::is_ipv4);
                }
                all.sort_unstable();
                all
            }
            Known::Trouble(why) => {
                let field = format!("spec.triggers[{index}].metadata.url");
                let fix = "check the operator's rights".to_owned();
                self.errors.push(ConfigError { field, problem: format!("{at} cannot be read: {why}"), fix });
                Vec::new()
            }
            Known::NotYet | Known::Missing => {
                self.not_yet = true;
                Vec::new()
            }
        }
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
            Ok(Identity::Of(identity)) => given.identity = identity,
            Ok(Identity::Workload(workload)) => {
                let role_arn = self.workload_role(index, name, workload);
                given.identity = match workload {
                    WorkloadRole::Required => PodIdentity::Aws { role_arn, external_id: None },
                    WorkloadRole::OfPod => PodIdentity::AwsEks { role_arn },
                };
            }
            Err(errors) => {
                for error in errors {
                    self.error(index, format!("{name}: {}: {}", error.field, error.problem), &error.fix);
                }
            }
        }
        let namespace = if cluster { self.givens.namespace.clone() } else { self.key.namespace.to_string() };
        let references = [
            (Keeper::Secret, "secretTargetRef", &spec.secret_target_ref),
            (Keeper::ConfigMap, "configMapTargetRef", &spec.config_map_target_ref),
        ];
        for (keeper, field, references) in references {
            for (place, reference) in references.iter().flatten().enumerate() {
                let at = format!("{name}: spec.{field}[{place}]");
                let Some(value) = self.value(index, &at, (keeper, &namespace), reference) else { continue };
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
        for (place, reference) in spec.bound_service_account_token.iter().flatten().enumerate() {
            let at = format!("{name}: spec.boundServiceAccountToken[{place}]");
            let Some(token) = self.token(index, &at, &namespace, &reference.service_account_name) else { continue };
            given.parameters.insert(reference.parameter.clone(), token);
        }
        if let Some(oauth2) = &spec.oauth2 {
            let SecretKey { name: secret, key } = &oauth2.client_secret.value_from.secret_key_ref;
            let at = format!("{name}: spec.oauth2.clientSecret.valueFrom.secretKeyRef");
            let reference = KeyReference { parameter: String::new(), name: secret.clone(), key: key.clone() };
            if let Some(secret) = self.value(index, &at, (Keeper::Secret, &namespace), &reference) {
                given.parameters.insert("clientSecret".to_owned(), secret);
            }
            given.parameters.extend(oauth2.parameters().map(|(name, value)| (name.to_owned(), Secret::new(value))));
        }
        match spec.file_path.as_deref().filter(|path| !path.is_empty()) {
            // Last, since it goes before all others.
            Some(path) if cluster => self.file(index, name, path, given),
            Some(_) => {
                let problem = format!("{name}: spec.filePath is for a ClusterTriggerAuthentication only");
                self.error(index, problem, "make it one, or keep the credential in a Secret");
            }
            None => {}
        }
    }

    /// The role that the target's own ServiceAccount names.
    fn workload_role(&mut self, index: usize, name: &str, role: WorkloadRole) -> Option<String> {
        let is_required = role == WorkloadRole::Required;
        let Some(pod) = self.containers else {
            if is_required {
                let problem =
                    format!("{name}: spec.podIdentity.identityOwner: the target has no pods with a ServiceAccount");
                self.error(index, problem, "give roleArn in its place");
            }
            return None;
        };
        let (namespace, account) = (self.key.namespace.to_string(), pod.service_account.clone());
        let at = format!("{name}: spec.podIdentity: the target's ServiceAccount {namespace}/{account}");
        match self.known(Place { keeper: Keeper::ServiceAccount, namespace, name: account }) {
            Known::Found(content) => {
                let role = content.get(ROLE_ANNOTATION).map(|role| role.expose().trim().to_owned());
                let role = role.filter(|role| !role.is_empty());
                if role.is_none() && is_required {
                    let fix = "annotate it with the ARN of the role, or give roleArn";
                    self.error(index, format!("{at} has no annotation {ROLE_ANNOTATION}"), fix);
                }
                return role;
            }
            Known::Missing => self.error(index, format!("{at} is not there"), "create it, or give roleArn"),
            Known::Trouble(why) => {
                self.error(index, format!("{at} cannot be read: {why}"), "check the operator's rights")
            }
            Known::NotYet => self.not_yet = true,
        }
        None
    }

    /// A token of a `ServiceAccount`.
    fn token(&mut self, index: usize, at: &str, namespace: &str, name: &str) -> Option<Secret> {
        let place = Place { keeper: Keeper::Token, namespace: namespace.to_owned(), name: name.to_owned() };
        match self.known(place) {
            Known::Found(content) => content.get(TOKEN).cloned(),
            Known::Trouble(why) => {
                let problem = format!("{at}: no token of the ServiceAccount {namespace}/{name} was given: {why}");
                let fix = "create it if it is not there, and let the operator create its serviceaccounts/token by a Role, as \
                           docs/authentication.md shows";
                self.error(index, problem, fix);
                None
            }
            Known::NotYet | Known::Missing => {
                self.not_yet = true;
                None
            }
        }
    }

    /// The parameters in a file of the operator's.
    fn file(&mut self, index: usize, name: &str, path: &str, given: &mut Given) {
        let place = Place { keeper: Keeper::File, namespace: String::new(), name: path.to_owned() };
        match self.known(place) {
            Known::Found(content) => given.parameters.extend((*content).clone()),
            Known::Trouble(why) => {
                self.error(index, format!("{name}: spec.filePath: {path:?} {why}"), "correct the path, or the file");
            }
            Known::NotYet | Known::Missing => self.not_yet = true,
        }
    }

    /// The value of one key of one Secret or ConfigMap.
    fn value(
        &mut self,
        index: usize,
        at: &str,
        (keeper, namespace): (Keeper, &str),
        reference: &KeyReference,
    ) -> Option<Secret> {
        let what = if keeper == Keeper::Secret { "Secret" } else { "ConfigMap" };
        let KeyReference { name, key, .. } = reference;
        let place = Place { keeper, namespace: namespace.to_owned(), name: name.clone() };
        match self.known(place) {
            Known::Found(content) => {
                let is_fit = |value: &&Secret| value.is_text() || takes_bytes(&reference.parameter);
                let value = content.get(key).filter(is_fit).cloned();
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
        let found =
            self.containers.and_then(|pod| find(&pod.containers, named)).filter(|_| !variables.is_empty()).cloned();
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
            let place = Place { keeper: kind.into(), namespace: self.key.namespace.to_string(), name: name.clone() };
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
