//! As whom AWS is asked: keys, a role, or the operator's own identity. This module never prints a credential and never asks
//! anybody for one.

use std::fmt;

use crate::{Metadata, PodIdentity, Secret};

/// As whom the service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Credential {
    /// Who one is to begin with.
    pub base: Base,
    /// The role that is taken on then, if any.
    pub role: Option<Role>,
}

/// Who one is to begin with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Base {
    /// The owner of these keys.
    Keys(Keys),
    /// The operator itself: what its pod is given by IRSA, EKS Pod Identity, its environment or its node.
    Operator,
}

/// The keys of a user, or of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keys {
    /// The public half. It is hidden all the same, since people mix the two up.
    pub access_key_id: Secret,
    /// The secret half.
    pub secret_access_key: Secret,
    /// What goes with the keys of a session.
    pub session_token: Option<Secret>,
}

/// A role to take on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// The external id that it asks for.
    pub external_id: Option<String>,
}

impl Credential {
    /// The field that gave it.
    #[cfg(feature = "connect")]
    pub(crate) const fn field(&self) -> &'static str {
        match (&self.base, &self.role) {
            (_, Some(_)) => "metadata.awsRoleArn",
            (Base::Keys(_), None) => "metadata.awsAccessKeyID",
            (Base::Operator, None) => "metadata.identityOwner",
        }
    }
}

impl fmt::Display for Credential {
    /// In words, without anything secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.base, &self.role) {
            (_, Some(role)) => write!(f, "the role {}", role.arn),
            (Base::Keys(_), None) => f.write_str("the access key"),
            (Base::Operator, None) => f.write_str("the operator's own AWS identity"),
        }
    }
}

/// The keys that give a credential.
pub(crate) const KEYS: [&str; 5] =
    ["awsAccessKeyID", "awsAccessKeyId", "awsSecretAccessKey", "awsSessionToken", "awsRoleArn"];

/// Whether anything says as whom AWS is asked.
pub(crate) fn is_given(metadata: &mut Metadata<'_>) -> bool {
    let operator = metadata.optional("identityOwner").is_some_and(|owner| owner.eq_ignore_ascii_case("operator"));
    let keys = KEYS.map(|key| metadata.optional(key).is_some());
    operator || keys.contains(&true) || metadata.input().given.identity != PodIdentity::None
}

/// Reads the credential. A pod identity of the authentication comes before all keys, `identityOwner: operator` next: the
/// order of KEDA.
pub(crate) fn parse(metadata: &mut Metadata<'_>) -> Option<Credential> {
    let [id, other_id, secret, token, role] = KEYS.map(|key| metadata.optional(key));
    let operator = metadata.choice("identityOwner", &[("pod", false), ("operator", true)]).unwrap_or_default();
    match &metadata.input().given.identity {
        PodIdentity::Aws { role_arn, external_id } => {
            metadata.unused(&KEYS, "the authentication gives a pod identity");
            let role = role_arn.as_ref().map(|arn| Role { arn: arn.clone(), external_id: external_id.clone() });
            return Some(Credential { base: Base::Operator, role });
        }
        PodIdentity::AwsEks { role_arn } => {
            metadata.unused(&KEYS, "the authentication gives a pod identity");
            let role = role_arn.as_ref().filter(|_| !operator);
            let role = role.map(|arn| Role { arn: arn.clone(), external_id: None });
            return Some(Credential { base: Base::Operator, role });
        }
        PodIdentity::None if operator => {
            metadata.unused(&KEYS, "identityOwner is operator");
            return Some(Credential { base: Base::Operator, role: None });
        }
        PodIdentity::None => {}
    }
    let id_key = if id.is_none() && other_id.is_some() { "awsAccessKeyId" } else { "awsAccessKeyID" };
    let role = match role {
        Some(arn) => Some(Role { arn: role_arn(metadata, arn)?, external_id: None }),
        None => None,
    };
    match (id.or(other_id), secret) {
        (Some(id), Some(secret)) => {
            let sound = [(id_key, Some(id)), ("awsSecretAccessKey", Some(secret)), ("awsSessionToken", token)]
                .map(|(key, value)| value.is_none_or(|value| one_word(metadata, key, value)));
            let keys = Keys {
                access_key_id: Secret::new(id),
                secret_access_key: Secret::new(secret),
                session_token: token.map(Secret::new),
            };
            sound.iter().all(|sound| *sound).then_some(Credential { base: Base::Keys(keys), role })
        }
        (Some(_), None) => {
            metadata.error("awsSecretAccessKey", format!("is required with {id_key}"), "give both, or neither");
            None
        }
        (None, Some(_)) => {
            metadata.error("awsAccessKeyID", "is required with awsSecretAccessKey", "give both, or neither");
            None
        }
        (None, None) if role.is_some() => Some(Credential { base: Base::Operator, role }),
        (None, None) => {
            let fix = "have a TriggerAuthentication give awsAccessKeyID and awsSecretAccessKey, or awsRoleArn, or the pod \
                       identity aws; or write identityOwner: operator to ask as the operator itself";
            metadata.error("awsAccessKeyID", "is required: nothing says as whom AWS is asked", fix);
            None
        }
    }
}

/// Whether a key is one word of visible characters: keys travel in HTTP headers, and none has anything else.
fn one_word(metadata: &mut Metadata<'_>, key: &str, value: &str) -> bool {
    let sound = value.chars().all(|c| c.is_ascii_graphic());
    if !sound {
        metadata.error(key, "has spaces, line breaks or other characters that no key has", "give the key alone");
    }
    sound
}

/// `arn:<partition>:iam::<account>:role/<name>`. What is not of this form may be anything, so it is not repeated.
fn role_arn(metadata: &mut Metadata<'_>, arn: &str) -> Option<String> {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_+=,.@/:".contains(c);
    let sound = matches!(parts[..], ["arn", partition, "iam", "", account, name]
        if !partition.is_empty()
            && account.len() == 12
            && account.bytes().all(|digit| digit.is_ascii_digit())
            && name.strip_prefix("role/").is_some_and(|name| !name.is_empty()))
        && arn.chars().all(allowed);
    if !sound {
        let fix = "write arn:aws:iam::<account of 12 digits>:role/<name>";
        metadata.error("awsRoleArn", "is not the ARN of a role", fix);
        return None;
    }
    Some(arn.to_owned())
}
