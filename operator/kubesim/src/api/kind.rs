//! The kinds of objects there are: the built-in ones, and how a CustomResourceDefinition becomes one. It stores nothing.

use std::sync::Arc;

use serde_json::Value;

use super::schema::Schema;

/// One kind of object.
#[derive(Debug, Clone)]
pub struct Kind {
    /// API group, empty for the core group.
    pub group: String,
    /// The version it is served and stored in.
    pub version: String,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name, empty where it is the kind in lower case.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// Short names.
    pub short_names: Vec<String>,
    /// Whether it has a status subresource.
    pub has_status: bool,
    /// Where its replicas are, if it has a scale subresource.
    pub scale: Option<ScalePaths>,
    /// What is known of its fields, for kinds that come from a CustomResourceDefinition.
    pub schema: Option<Arc<Schema>>,
    /// `additionalPrinterColumns` of a CustomResourceDefinition.
    pub columns: Vec<Value>,
}

/// Where the figures of a scale subresource are: dotted paths without the first dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// Wanted replicas.
    pub spec: String,
    /// Present replicas.
    pub status: String,
    /// The selector: a `LabelSelector`, or a string in the case of a custom resource.
    pub selector: Option<String>,
}

impl Kind {
    /// `plural.group`, or the plural alone for the core group.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `group/version`, or the version alone for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether its objects count the changes of their spec.
    #[must_use]
    pub fn has_generation(&self) -> bool {
        let counting = [
            "CronJob",
            "CustomResourceDefinition",
            "Deployment",
            "EndpointSlice",
            "Job",
            "Pod",
            "PodDisruptionBudget",
            "ReplicaSet",
            "ReplicationController",
            "StatefulSet",
        ];
        self.schema.is_some() || counting.contains(&self.kind.as_str())
    }

    /// Whether an update may leave out the version that it is based on.
    #[must_use]
    pub fn is_updated_blindly(&self) -> bool {
        let careful = ["APIService", "CustomResourceDefinition", "Lease", "PodDisruptionBudget"];
        self.schema.is_none() && !careful.contains(&self.kind.as_str())
    }

    /// Whether an update makes an object that is not there.
    #[must_use]
    pub fn is_created_by_update(&self) -> bool {
        let made =
            ["ClusterRole", "ClusterRoleBinding", "Endpoints", "Event", "Lease", "Role", "RoleBinding", "Service"];
        self.schema.is_none() && made.contains(&self.kind.as_str())
    }

    /// Where the API server keeps an object; some of its messages say it.
    #[must_use]
    pub fn storage_key(&self, namespace: &str, name: &str) -> String {
        let group = if self.schema.is_some()
            || self.group.ends_with("apiextensions.k8s.io")
            || self.group.starts_with("apiregistration")
        {
            format!("{}/", self.group)
        } else {
            String::new()
        };
        let plural = match self.kind.as_str() {
            "Service" => "services/specs",
            "Node" => "minions",
            "ReplicationController" => "controllers",
            _ => &self.plural,
        };
        let namespace = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        format!("/registry/{group}{plural}/{namespace}{name}")
    }

    /// The kind that a CustomResourceDefinition describes, in its storage version.
    #[must_use]
    pub fn of_crd(crd: &Value) -> Option<Self> {
        let spec = crd.get("spec")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let version = spec["versions"].as_array()?.iter().find(|version| version["storage"] == true)?;
        let scale = version["subresources"].get("scale").map(|scale| ScalePaths {
            spec: scale["specReplicasPath"].as_str().unwrap_or_default().trim_start_matches('.').to_owned(),
            status: scale["statusReplicasPath"].as_str().unwrap_or_default().trim_start_matches('.').to_owned(),
            selector: scale["labelSelectorPath"].as_str().map(|path| path.trim_start_matches('.').to_owned()),
        });
        let names = &spec["names"];
        Some(Self {
            group: text(&spec["group"])?,
            version: text(&version["name"])?,
            plural: text(&names["plural"])?,
            singular: text(&names["singular"]).unwrap_or_default(),
            kind: text(&names["kind"])?,
            namespaced: spec["scope"] == "Namespaced",
            short_names: names["shortNames"].as_array().into_iter().flatten().filter_map(text).collect(),
            has_status: version["subresources"].get("status").is_some(),
            scale,
            schema: Some(Arc::new(Schema::new(&version["schema"]["openAPIV3Schema"]))),
            columns: version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default(),
        })
    }
}

/// Group, version, plural, kind, namespaced, status, scale, short names.
type Row = (&'static str, &'static str, &'static str, &'static str, bool, bool, bool, &'static [&'static str]);

const BUILT_IN: &[Row] = &[
    ("", "v1", "configmaps", "ConfigMap", true, false, false, &["cm"]),
    ("", "v1", "endpoints", "Endpoints", true, false, false, &["ep"]),
    ("", "v1", "events", "Event", true, false, false, &["ev"]),
    ("", "v1", "namespaces", "Namespace", false, true, false, &["ns"]),
    ("", "v1", "nodes", "Node", false, true, false, &["no"]),
    ("", "v1", "pods", "Pod", true, true, false, &["po"]),
    ("", "v1", "replicationcontrollers", "ReplicationController", true, true, true, &["rc"]),
    ("", "v1", "secrets", "Secret", true, false, false, &[]),
    ("", "v1", "serviceaccounts", "ServiceAccount", true, false, false, &["sa"]),
    ("", "v1", "services", "Service", true, true, false, &["svc"]),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        false,
        true,
        false,
        &["crd"],
    ),
    ("apiregistration.k8s.io", "v1", "apiservices", "APIService", false, true, false, &[]),
    ("apps", "v1", "deployments", "Deployment", true, true, true, &["deploy"]),
    ("apps", "v1", "replicasets", "ReplicaSet", true, true, true, &["rs"]),
    ("apps", "v1", "statefulsets", "StatefulSet", true, true, true, &["sts"]),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true, true, false, &["hpa"]),
    ("batch", "v1", "cronjobs", "CronJob", true, true, false, &["cj"]),
    ("batch", "v1", "jobs", "Job", true, true, false, &[]),
    ("coordination.k8s.io", "v1", "leases", "Lease", true, false, false, &[]),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true, false, false, &[]),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true, true, false, &["pdb"]),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false, false, false, &[]),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false, false, false, &[]),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true, false, false, &[]),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role", true, false, false, &[]),
];

/// The kinds that every cluster has.
pub(super) fn built_in() -> impl Iterator<Item = Kind> {
    BUILT_IN.iter().map(|(group, version, plural, kind, namespaced, has_status, has_scale, short_names)| Kind {
        group: (*group).to_owned(),
        version: (*version).to_owned(),
        plural: (*plural).to_owned(),
        singular: kind.to_lowercase(),
        kind: (*kind).to_owned(),
        namespaced: *namespaced,
        short_names: short_names.iter().map(|&name| name.to_owned()).collect(),
        has_status: *has_status,
        scale: has_scale.then(|| ScalePaths {
            spec: "spec.replicas".to_owned(),
            status: "status.replicas".to_owned(),
            selector: Some("spec.selector".to_owned()),
        }),
        schema: None,
        columns: Vec::new(),
    })
}
