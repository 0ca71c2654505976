//! The wire types of `TriggerAuthentication` and `ClusterTriggerAuthentication`: where the credentials of a trigger are. It
//! names places; it never holds a credential.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use windlass_sources::{ConfigError, PodIdentity};

/// The hosts that the credentials may be sent to, separated by commas; `*.` before a domain allows what is below it. Where
/// it is not given, the trigger may name any host.
pub const ALLOWED_HOSTS: &str = "windlass.dev/allowed-hosts";

/// Where the credentials of a trigger are.
#[allow(clippy::duplicated_attributes, reason = "columns of one type")]
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "windlass.dev",
    version = "v1alpha1",
    kind = "TriggerAuthentication",
    plural = "triggerauthentications",
    shortname = "ta",
    shortname = "triggerauth",
    namespaced,
    status = "AuthenticationStatus",
    derive = "PartialEq",
    category = "windlass",
    printcolumn(name = "PodIdentity", type_ = "string", json_path = ".spec.podIdentity.provider"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretTargetRef[*].name"),
    printcolumn(name = "Env", type_ = "string", json_path = ".spec.env[*].name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerAuthenticationSpec {
    /// As whom a cloud is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentitySpec>,
    /// Parameters from Secrets: of the same namespace, or of the operator's for a `ClusterTriggerAuthentication`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_target_ref: Option<Vec<KeyReference>>,
    /// Parameters from ConfigMaps, of the same namespace as Secrets are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_target_ref: Option<Vec<KeyReference>>,
    /// Parameters from the environment of the target's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<EnvReference>>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_path: Option<String>,
    /// Parameters that are tokens of ServiceAccounts. Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_service_account_token: Option<Vec<TokenReference>>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub hashi_corp_vault: Option<serde_json::Value>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub azure_key_vault: Option<serde_json::Value>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub gcp_secret_manager: Option<serde_json::Value>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub aws_secret_manager: Option<serde_json::Value>,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "anything")]
    pub oauth2: Option<serde_json::Value>,
}

/// Who uses an authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthenticationStatus {
    /// The scaled jobs that use it, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaledjobs: Option<String>,
    /// The scaled objects that use it, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaledobjects: Option<String>,
}

/// As whom a cloud is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodIdentitySpec {
    /// `none` (default), `aws` or `aws-eks`.
    pub provider: String,
    /// For other clouds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_id: Option<String>,
    /// For other clouds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_tenant_id: Option<String>,
    /// For other clouds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_authority_host: Option<String>,
    /// The AWS role to take on, if not the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The external id that the role asks for.
    #[serde(skip_serializing_if = "Option::is_none", rename = "externalID")]
    pub external_id: Option<String>,
    /// Whose identity: `keda` (default), the operator's; `workload` is not supported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_owner: Option<String>,
}

/// One parameter, from one key of a Secret or ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyReference {
    /// The parameter, named like a key of the trigger's metadata.
    pub parameter: String,
    /// The name of the Secret or ConfigMap.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// One parameter, from one variable of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvReference {
    /// The parameter, named like a key of the trigger's metadata.
    pub parameter: String,
    /// The variable.
    pub name: String,
    /// The container; default: `scaleTargetRef.envSourceContainerName`, else the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
}

/// One parameter, which is a token of a ServiceAccount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenReference {
    /// The parameter, named like a key of the trigger's metadata.
    pub parameter: String,
    /// The ServiceAccount.
    pub service_account_name: String,
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

impl TriggerAuthenticationSpec {
    /// As whom a cloud is asked.
    ///
    /// # Errors
    /// What this version does not serve: to pass over it would ask with other credentials than those that were meant.
    pub fn identity(&self) -> Result<PodIdentity, Vec<ConfigError>> {
        let error = |field: &str, problem: String, fix: &str| ConfigError {
            field: format!("spec.{field}"),
            problem,
            fix: fix.to_owned(),
        };
        let secret = "keep the credential in a Secret and name it in secretTargetRef";
        let mut errors: Vec<_> = [
            ("filePath", self.file_path.is_some()),
            ("boundServiceAccountToken", self.bound_service_account_token.as_ref().is_some_and(|all| !all.is_empty())),
            ("hashiCorpVault", self.hashi_corp_vault.is_some()),
            ("azureKeyVault", self.azure_key_vault.is_some()),
            ("gcpSecretManager", self.gcp_secret_manager.is_some()),
            ("awsSecretManager", self.aws_secret_manager.is_some()),
            ("oauth2", self.oauth2.is_some()),
        ]
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(field, _)| error(field, "is not supported yet".to_owned(), secret))
        .collect();
        let identity = self.pod_identity.clone().unwrap_or_default();
        let found = match identity.provider.as_str() {
            "" | "none" => PodIdentity::None,
            "aws" | "aws-eks" if identity.identity_owner.as_deref().unwrap_or("keda") == "keda" => {
                PodIdentity::Aws { role_arn: identity.role_arn, external_id: identity.external_id }
            }
            "aws" | "aws-eks" => {
                let problem = "takes the operator's identity only in this version".to_owned();
                errors.push(error(
                    "podIdentity.identityOwner",
                    problem,
                    "remove it and give roleArn, or keys in a Secret",
                ));
                PodIdentity::None
            }
            other => {
                let problem = format!("{other:?} is not supported yet");
                errors.push(error("podIdentity.provider", problem, "write aws, or give keys in a Secret"));
                PodIdentity::None
            }
        };
        if errors.is_empty() { Ok(found) } else { Err(errors) }
    }
}

/// The hosts that an authentication with these annotations may be sent to.
#[must_use]
pub fn allowed_hosts(annotations: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let hosts = annotations.get(ALLOWED_HOSTS)?;
    Some(hosts.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_served_is_an_error_that_names_it() {
        let of = |spec| -> TriggerAuthenticationSpec { serde_json::from_value(spec).expect("the test's own spec") };
        let role = json!({"podIdentity": {"provider": "aws", "roleArn": "arn:r", "externalID": "e"}});
        let aws = PodIdentity::Aws { role_arn: Some("arn:r".to_owned()), external_id: Some("e".to_owned()) };
        assert_eq!(of(role).identity(), Ok(aws));
        assert_eq!(of(json!({"podIdentity": {"provider": "none"}})).identity(), Ok(PodIdentity::None));
        for (spec, field) in [
            (json!({"hashiCorpVault": {"address": "x"}}), "spec.hashiCorpVault"),
            (
                json!({"boundServiceAccountToken": [{"parameter": "token", "serviceAccountName": "s"}]}),
                "spec.boundServiceAccountToken",
            ),
            (json!({"podIdentity": {"provider": "gcp"}}), "spec.podIdentity.provider"),
            (
                json!({"podIdentity": {"provider": "aws", "identityOwner": "workload"}}),
                "spec.podIdentity.identityOwner",
            ),
        ] {
            let errors = of(spec).identity().expect_err(field);
            assert!(errors.len() == 1 && errors[0].field == field, "{errors:?}");
        }
    }

    #[test]
    fn the_annotation_names_the_hosts() {
        let of = |text: &str| allowed_hosts(&BTreeMap::from([(ALLOWED_HOSTS.to_owned(), text.to_owned())]));
        assert_eq!(allowed_hosts(&BTreeMap::new()), None);
        assert_eq!(of(" a.b , *.c,"), Some(vec!["a.b".to_owned(), "*.c".to_owned()]));
        assert_eq!(of(""), Some(vec![]));
    }
}
