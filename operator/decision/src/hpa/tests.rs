//! Timelines of the autoscaler: what is seen at which sync, and what is written. Its rules are also held against
//! Kubernetes' own controller, by the timelines of `windlass-tests`.

mod behaviour;
mod conditions;
mod cost;
mod life;
mod metrics;
mod pods;
mod properties;
mod window;
