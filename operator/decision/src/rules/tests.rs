//! Timelines of the rules: what is read, asked and written when, and what is decided from it.

mod activation;
mod blind;
mod by_hand;
mod cooldown;
mod fallback;
mod hold;
mod policy;
mod timeline;
mod wake;
mod words;
