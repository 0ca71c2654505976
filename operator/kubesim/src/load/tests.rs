//! The load model as timelines and properties.

mod arrivals;
mod queues;
