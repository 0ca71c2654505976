//! The API server as its clients meet it, in paused time: requests as data where the answer matters, `kube::Client` where
//! it matters that a client understands it.

mod applying;
mod clients;
mod custom;
mod deletion;
mod faults;
mod lab;
mod objects;
mod served;
mod tokens;
mod watches;
