//! Checks that need no cluster: the arrows between crates, and rules of the repository that a compiler does not know.

mod arrows;
mod cli;
mod conformance;
mod demo;
mod files;
mod noise;
mod simulate;
