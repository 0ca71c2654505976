//! Asking the KDCs of a realm over TCP (RFC 4120 section 7.2.2), each at an address that may be connected to. It decides nothing about
//! tickets.

use std::io;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::config::Endpoint;
use super::super::outcome::Problem;
use super::config::Kerberos;
use super::messages::{self, Reply};
use super::problem;
use crate::NetworkPolicy;
use crate::cause::root_cause;

/// The longest answer: a ticket that says which groups a user of Active Directory belongs to has some ten kilobytes.
const MAX_ANSWER: u32 = 256 << 10;
/// How long a KDC is waited for before the next one is asked as well.
const PATIENCE: Duration = Duration::from_millis(400);
/// A KDC that says this is no use at present, and another may be (`KDC_ERR_SVC_UNAVAILABLE`).
const UNAVAILABLE: i64 = 29;

/// Sends `request` to the KDCs of `login` until one answers, beginning with the one at `first`; gives its place and its answer.
pub(super) async fn ask(
    login: &Kerberos,
    network: &NetworkPolicy,
    first: usize,
    (request, is_tgs): (&[u8], bool),
    until: Instant,
) -> Result<(usize, Reply), Problem> {
    let mut waiting = (0..login.kdcs.len()).cycle().skip(first).take(login.kdcs.len());
    let mut under_way = FuturesUnordered::new();
    let mut worst: Option<Problem> = None;
    let answered = async {
        loop {
            if let Some((place, at)) = waiting.next().and_then(|place| Some((place, login.kdcs.get(place)?))) {
                under_way.push(async move { (place, ask_one(login, at, network, request, is_tgs).await) });
            }
            if under_way.is_empty() {
                return None;
            }
            let Ok(Some((place, answer))) = timeout(PATIENCE, under_way.next()).await else { continue };
            match answer {
                Ok(reply) => return Some((place, reply)),
                Err(problem) => {
                    worst = Some(match worst.take() {
                        Some(before) => before.or_worse(problem),
                        None => problem,
                    });
                }
            }
        }
    };
    match timeout_at(until, answered).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(worst.unwrap_or_else(|| problem::kdc_timeout(login))),
        Err(_) => Err(problem::kdc_timeout(login)),
    }
}

async fn ask_one(
    login: &Kerberos,
    at: &Endpoint,
    network: &NetworkPolicy,
    request: &[u8],
    is_tgs: bool,
) -> Result<Reply, Problem> {
    let unreachable = |error: io::Error| match error.kind() {
        // It accepted, and then had nothing to say.
        io::ErrorKind::UnexpectedEof => problem::no_kdc(login, at),
        _ => problem::kdc_unreachable(login, at, &root_cause(&error).0),
    };
    let found = network.resolve(&at.host, at.port).await.map_err(unreachable)?;
    let addresses = found.map_err(|denied| problem::kdc_denied(at, denied))?;
    let mut tcp = TcpStream::connect(&*addresses).await.map_err(unreachable)?;
    let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
    tcp.write_all(&[&length.to_be_bytes()[..], request].concat()).await.map_err(unreachable)?;
    let length = tcp.read_u32().await.map_err(unreachable)?;
    if length > MAX_ANSWER {
        return Err(problem::no_kdc(login, at));
    }
    let mut answer = Vec::new();
    // As much is kept as comes, not as is promised.
    (&mut tcp).take(length.into()).read_to_end(&mut answer).await.map_err(unreachable)?;
    match messages::read_reply(&answer, is_tgs).map_err(|_| problem::no_kdc(login, at))? {
        Reply::Refused(refusal) if refusal.code == UNAVAILABLE => Err(problem::unavailable(login, at)),
        reply => Ok(reply),
    }
}

#[cfg(test)]
#[path = "kdc_tests.rs"]
mod tests;
