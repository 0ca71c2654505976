//! Properties that hold for all inputs, and what a decision costs.

mod cost;
mod generators;
mod properties;
mod sequences;
