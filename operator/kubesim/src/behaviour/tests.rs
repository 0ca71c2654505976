//! The controllers as timelines, in paused time.

mod autoscaling;
mod basics;
mod churn;
mod jobs;
mod lab;
mod metrics;
mod trace;
mod workloads;
