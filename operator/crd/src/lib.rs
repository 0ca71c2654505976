//! The resources: `ScaledObject`, `TriggerAuthentication` and `ClusterTriggerAuthentication`: their types, one [`validate`] that everybody calls, and its conversion to a decision's
//! configuration.
//!
//! The wire types have KEDA's shape, field for field. This crate does no IO: what it accepts is understood, not reached.

mod authentication;
mod group;
mod hand;
mod manifest;
#[cfg(test)]
mod pages_tests;
mod scaled_object;
mod status;
mod validate;

pub use authentication::{
    ALLOWED_HOSTS, EnvReference, Identity, KeyReference, OAuth2Spec, PodIdentitySpec, SecretKey, TokenReference,
    TriggerAuthentication, TriggerAuthenticationSpec, WorkloadRole, allowed_hosts,
};
pub use group::Group;
pub use hand::{excluded_labels, hand, transfers_hpa};
pub use manifest::{crds, manifest};
pub use scaled_object::{
    Advanced, AuthenticationRef, Fallback, HpaConfig, ScaleTargetRef, ScaledObject, ScaledObjectSpec, ScalingModifiers,
    Trigger,
};
pub use windlass_sources::{docs as trigger_docs, kinds as trigger_kinds};

pub use status::{Condition, Gvkr, Health, ScaledObjectStatus, TriggerActivity, condition, condition_type};
pub use validate::{
    Inputs, ResourceMetric, ResourceTarget, Settings, Target, Validated, ValidatedTrigger, hpa_name, target, validate,
};

/// The group of Windlass's own resources.
pub const GROUP: &str = "windlass.dev";
/// The version of Windlass's own resources.
pub const VERSION: &str = "v1alpha1";
/// The label that names the scaled object on everything made for it, and the selector of its external metrics.
pub const NAME_LABEL: &str = "scaledobject.windlass.dev/name";
