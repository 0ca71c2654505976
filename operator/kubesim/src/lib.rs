//! An in-process Kubernetes: an API server that stores what it is given, the controllers that make pods of it, and load
//! for them. It knows no Windlass, and everything in it is on tokio's clock, from one seed.

pub mod api;
pub mod behaviour;
pub mod load;

#[cfg(test)]
mod test_clock;
