//! The wire types of `TriggerAuthentication` and `ClusterTriggerAuthentication`: where the credentials of a trigger are. It
//! names places; it never holds a credential.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use windlass_sources::{ConfigError, PodIdentity, form};

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
    /// Parameters from a file of the operator's, a JSON object of strings; the path is relative to the folder of
    /// `--filepath-auth-root-path`. For a `ClusterTriggerAuthentication` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_path: Option<String>,
    /// Parameters that are tokens of ServiceAccounts: of the same namespace, or of the operator's for a
    /// `ClusterTriggerAuthentication`. The operator has to be allowed to create `serviceaccounts/token` of each.
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
    /// A client of OAuth 2.0, for triggers with `authModes: oauth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2Spec>,
}

/// A client of OAuth 2.0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuth2Spec {
    /// `clientCredentials`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The client; the parameter `clientID`.
    pub client_id: String,
    /// Its secret; the parameter `clientSecret`.
    pub client_secret: OAuth2Secret,
    /// The URL of the token endpoint; the parameter `oauthTokenURI`.
    pub token_url: String,
    /// What the token is to be good for; the parameter `scopes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// Further parameters of the request; the parameter `endpointParams`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url_params: Option<BTreeMap<String, String>>,
}

/// Where the secret of a client is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuth2Secret {
    /// Where it is.
    pub value_from: OAuth2SecretSource,
}

/// See [`OAuth2Secret`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OAuth2SecretSource {
    /// A key of a Secret, of the same namespace as `secretTargetRef` names.
    pub secret_key_ref: SecretKey,
}

/// One key of a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SecretKey {
    /// The Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
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
    /// `none` (default), `aws`, or `aws-eks`: as `aws` with `identityOwner: workload`, where that names a role.
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
    /// Whose identity with `aws`: `keda` (default), the operator's; `workload`, the role that the target's ServiceAccount names
    /// by its annotation `eks.amazonaws.com/role-arn`.
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

impl OAuth2Spec {
    /// What it gives to a trigger, but for the client's secret.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, String)> {
        let pairs = self.token_url_params.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
        let all = [
            ("oauthTokenURI", self.token_url.clone()),
            ("clientID", self.client_id.clone()),
            ("scopes", self.scopes.iter().flatten().cloned().collect::<Vec<_>>().join(",")),
            ("endpointParams", form(pairs)),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty())
    }
}

/// As whom a cloud is asked, or where that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// As this one.
    Of(PodIdentity),
    /// By the role that the target's own ServiceAccount names.
    Workload(WorkloadRole),
}

/// What the role of the target's ServiceAccount is to its triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadRole {
    /// There has to be one.
    Required,
    /// KEDA's `aws-eks`: it is taken on if there is one, unless the trigger asks as the operator.
    OfPod,
}

fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

impl TriggerAuthenticationSpec {
    /// As whom a cloud is asked.
    ///
    /// # Errors
    /// What this version does not serve: to pass over it would ask with other credentials than those that were meant.
    pub fn identity(&self) -> Result<Identity, Vec<ConfigError>> {
        let error = |field: &str, problem: String, fix: &str| ConfigError {
            field: format!("spec.{field}"),
            problem,
            fix: fix.to_owned(),
        };
        let secret = "keep the credential in a Secret and name it in secretTargetRef";
        let mut errors: Vec<_> = [
            ("hashiCorpVault", self.hashi_corp_vault.is_some()),
            ("azureKeyVault", self.azure_key_vault.is_some()),
            ("gcpSecretManager", self.gcp_secret_manager.is_some()),
            ("awsSecretManager", self.aws_secret_manager.is_some()),
        ]
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(field, _)| error(field, "is not supported yet".to_owned(), secret))
        .collect();
        if let Some(oauth2) = self.oauth2.as_ref().filter(|oauth2| oauth2.kind != "clientCredentials") {
            let problem = format!("{:?} is not known", oauth2.kind);
            errors.push(error("oauth2.type", problem, "write clientCredentials"));
        }
        let identity = self.pod_identity.clone().unwrap_or_default();
        let PodIdentitySpec { provider, role_arn, external_id, identity_owner, .. } = identity;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (role_arn, external_id, owner) = (given(role_arn), given(external_id), given(identity_owner));
        let is_workload = owner.as_deref() == Some("workload");
        if owner.as_deref().is_some_and(|owner| !["keda", "workload"].contains(&owner)) {
            errors.push(error("podIdentity.identityOwner", "is not known".to_owned(), "write keda or workload"));
        }
        // As KEDA's admission webhook has it.
        if is_workload && role_arn.is_some() {
            let problem = "is not for identityOwner: workload".to_owned();
            errors.push(error("podIdentity.roleArn", problem, "keep one of the two"));
        }
        if external_id.is_some() && role_arn.is_none() {
            errors.push(error(
                "podIdentity.externalID",
                "is for roleArn only".to_owned(),
                "give roleArn, or remove it",
            ));
        }
        let found = match provider.as_str() {
            "" | "none" => Identity::Of(PodIdentity::None),
            "aws" if is_workload => Identity::Workload(WorkloadRole::Required),
            "aws" => Identity::Of(PodIdentity::Aws { role_arn, external_id }),
            // KEDA passes over a roleArn here, and would ask with another role than the one that was written.
            "aws-eks" if role_arn.is_some() => {
                let problem = "is not for aws-eks, whose role is that of the target's ServiceAccount".to_owned();
                errors.push(error("podIdentity.roleArn", problem, "write aws as the provider, or remove it"));
                Identity::Of(PodIdentity::None)
            }
            "aws-eks" => Identity::Workload(WorkloadRole::OfPod),
            other => {
                let problem = format!("{other:?} is not supported yet");
                errors.push(error("podIdentity.provider", problem, "write aws, or give keys in a Secret"));
                Identity::Of(PodIdentity::None)
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
        assert_eq!(of(role).identity(), Ok(Identity::Of(aws)));
        assert_eq!(of(json!({"podIdentity": {"provider": "none"}})).identity(), Ok(Identity::Of(PodIdentity::None)));
        let workload = json!({"podIdentity": {"provider": "aws", "identityOwner": "workload"}});
        assert_eq!(of(workload).identity(), Ok(Identity::Workload(WorkloadRole::Required)));
        for owner in [json!(null), json!("keda"), json!("workload")] {
            let eks = json!({"podIdentity": {"provider": "aws-eks", "identityOwner": owner}});
            assert_eq!(of(eks).identity(), Ok(Identity::Workload(WorkloadRole::OfPod)));
        }
        for (spec, field) in [
            (json!({"hashiCorpVault": {"address": "x"}}), "spec.hashiCorpVault"),
            (json!({"awsSecretManager": {"secrets": []}}), "spec.awsSecretManager"),
            (json!({"podIdentity": {"provider": "gcp"}}), "spec.podIdentity.provider"),
            (json!({"oauth2": {"type": "password", "clientId": "c", "tokenUrl": "https://x"}}), "spec.oauth2.type"),
            (json!({"podIdentity": {"provider": "aws", "identityOwner": "me"}}), "spec.podIdentity.identityOwner"),
            (
                json!({"podIdentity": {"provider": "aws", "identityOwner": "workload", "roleArn": "arn:r"}}),
                "spec.podIdentity.roleArn",
            ),
            (json!({"podIdentity": {"provider": "aws-eks", "roleArn": "arn:r"}}), "spec.podIdentity.roleArn"),
            (json!({"podIdentity": {"provider": "aws", "externalID": "e"}}), "spec.podIdentity.externalID"),
        ] {
            let errors = of(spec).identity().expect_err(field);
            assert!(errors.len() == 1 && errors[0].field == field, "{errors:?}");
        }
    }

    #[test]
    fn a_client_of_oauth_gives_the_keys_of_the_mode() {
        let spec: TriggerAuthenticationSpec = serde_json::from_value(json!({"oauth2": {
            "type": "clientCredentials", "clientId": "me", "tokenUrl": "https://login.shop/token",
            "clientSecret": {"valueFrom": {"secretKeyRef": {"name": "oauth", "key": "secret"}}},
            "scopes": ["one", "two"], "tokenUrlParams": {"audience": "a&b"},
        }}))
        .expect("KEDA's own shape");
        assert_eq!(spec.identity(), Ok(Identity::Of(PodIdentity::None)));
        let oauth2 = spec.oauth2.expect("oauth2");
        let given: BTreeMap<_, _> = oauth2.parameters().collect();
        let wanted = [("oauthTokenURI", "https://login.shop/token"), ("clientID", "me"), ("scopes", "one,two")];
        let wanted = wanted.into_iter().chain([("endpointParams", "audience=a%26b")]);
        assert_eq!(given, wanted.map(|(name, value)| (name, value.to_owned())).collect());
        assert_eq!(oauth2.client_secret.value_from.secret_key_ref.key, "secret");
        assert_eq!(
            OAuth2Spec { kind: "clientCredentials".to_owned(), ..OAuth2Spec::default() }.parameters().count(),
            0
        );
    }

    #[test]
    fn the_annotation_names_the_hosts() {
        let of = |text: &str| allowed_hosts(&BTreeMap::from([(ALLOWED_HOSTS.to_owned(), text.to_owned())]));
        assert_eq!(allowed_hosts(&BTreeMap::new()), None);
        assert_eq!(of(" a.b , *.c,"), Some(vec!["a.b".to_owned(), "*.c".to_owned()]));
        assert_eq!(of(""), Some(vec![]));
    }
}
