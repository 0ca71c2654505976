//! What a trigger is given from elsewhere than its own metadata: credentials of an authentication object, variables of the
//! target's container. It holds values; it never fetches one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Secret;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The parameters of the trigger's authentication, by name.
    pub parameters: BTreeMap<String, Secret>,
    /// The variables that `...FromEnv` keys name, from the environment of the target's container.
    pub environment: BTreeMap<String, Secret>,
    /// As whom a cloud is asked.
    pub identity: PodIdentity,
    /// The addresses behind the Service that the trigger names, if it is to ask each of them.
    pub endpoints: Vec<IpAddr>,
    /// The hosts that the authentication may be sent to: a name, or `*.` and a domain. `None` allows any.
    pub allowed_hosts: Option<Vec<String>>,
}

/// As whom a cloud is asked, where no key is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PodIdentity {
    /// As nobody: the trigger gives its keys.
    #[default]
    None,
    /// As the operator's own pod, on AWS (IRSA or EKS Pod Identity).
    Aws {
        /// The role to take on, if not the pod's own.
        role_arn: Option<String>,
        /// The external id that the role asks for.
        external_id: Option<String>,
    },
    /// KEDA's `aws-eks`: by the role of the workload where there is one, or as the operator's own pod; and always so where the
    /// trigger says that it asks as the operator.
    AwsEks {
        /// The workload's role.
        role_arn: Option<String>,
    },
}

/// Whether a parameter of an authentication may be bytes that are no text: a file in a binary format. What is kept elsewhere as
/// such bytes is nothing that any other parameter could be.
#[must_use]
pub fn takes_bytes(parameter: &str) -> bool {
    parameter == "keytab"
}

impl Given {
    /// Whether the authentication may be sent to `host`.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allowed_hosts.as_ref().is_none_or(|allowed| {
            allowed.iter().any(|allowed| {
                let allowed = allowed.trim().to_ascii_lowercase();
                match allowed.strip_prefix("*.") {
                    Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                    None => allowed == host,
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_to_the_hosts_it_names_and_to_no_other() {
        let of = |hosts: &[&str]| Given {
            allowed_hosts: Some(hosts.iter().map(|host| (*host).to_owned()).collect()),
            ..Given::default()
        };
        assert!(Given::default().allows("anything"));
        assert!(!of(&[]).allows("anything"));
        let some = of(&["rabbit.shop", "*.example.com"]);
        for host in ["rabbit.shop", "RABBIT.shop", "rabbit.shop.", "a.example.com", "a.b.example.com"] {
            assert!(some.allows(host), "{host}");
        }
        for host in ["example.com", ".example.com", "badexample.com", "rabbit.shop.evil", "evil-rabbit.shop", ""] {
            assert!(!some.allows(host), "{host}");
        }
    }
}
