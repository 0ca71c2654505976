//! The rules of the pipeline, one file each.

pub(crate) mod activation;
pub(crate) mod bounds;
pub(crate) mod by_hand;
pub(crate) mod cooldown;
pub(crate) mod demand;
pub(crate) mod fallback;
pub(crate) mod hold;

#[cfg(test)]
mod tests;
