//! One connection to one broker: TCP, TLS, login, then requests and their answers in order. It never reconnects by itself,
//! and after an error it must not be used again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::bearer::{Shown, Wallet};
use super::codec::Malformed;
use super::config::{Connection, Endpoint};
use super::messages::{self, Broker, ByGroup, Call, Commits, Ends, Metadata, Places, Versions, Wanted};
use super::outcome::Problem;
use crate::NetworkPolicy;
use crate::cause::root_cause;

/// The largest answer: a request asks for a few thousand partitions, of some hundred bytes each at most.
const MAX_FRAME: i32 = 64 << 20;
/// The most groups in one request.
const MAX_GROUPS: usize = 500;
/// The most partitions in one request for commits, each of which has a note of up to 4 kB.
const MAX_PARTITIONS: usize = 10_000;
/// The most requests under way on one connection, where a broker is too old for many groups in one.
const MAX_UNDER_WAY: usize = 64;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// See the module.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    correlation: i32,
    /// Whether the broker takes many groups in one request (Kafka 3.0 and later).
    many_coordinators: bool,
    many_groups: bool,
    /// What the login was by: it may end before whoever handed it out says so.
    pub(super) shown: Option<Shown>,
}

/// What is asked of a broker.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// Who leads the partitions of these topics.
    Metadata(Vec<String>),
    /// The ends of partitions that the broker leads.
    Ends(Places),
    /// The coordinators of groups.
    Coordinators(Vec<String>),
    /// The commits of groups that the broker coordinates.
    Commits(Vec<Wanted>),
}

/// What is answered to it.
#[derive(Debug)]
pub(super) enum Answer {
    Metadata(Metadata),
    Ends(Ends),
    Coordinators(ByGroup<Broker>),
    Commits(ByGroup<Commits>),
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub(super) enum Broken {
    Io(io::Error),
    Malformed,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Broken {
    /// The sentence for a person.
    pub(super) fn problem(&self, connection: &Connection, at: &Endpoint) -> Problem {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Problem::hung_up(connection, at),
            Self::Io(error) => Problem::unreachable(connection, at, &root_cause(error).0),
            Self::Malformed => Problem::stranger(connection, at),
        }
    }
}

impl Link {
    /// Connects and logs in; a token may be waited for so long.
    pub(super) async fn open(
        connection: &Connection,
        at: &Endpoint,
        tls: Option<Arc<ClientConfig>>,
        network: &NetworkPolicy,
        tokens: (&Wallet, Duration),
    ) -> Result<Self, Problem> {
        let unreachable = |error: io::Error| Problem::unreachable(connection, at, &root_cause(&error).0);
        // Whoever answers as a cluster says where its brokers are: those addresses are judged too.
        let found = network.resolve(&at.host, at.port).await.map_err(unreachable)?;
        let addresses = found.map_err(|denied| Problem::denied(at, denied))?;
        let tcp = TcpStream::connect(&*addresses).await.map_err(unreachable)?;
        // A small request must not wait for the next one.
        let _ = tcp.set_nodelay(true);
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(config) => {
                let refused = |why: &str| Problem::tls(at, why);
                let name = ServerName::try_from(at.host.clone())
                    .map_err(|_| refused("the host is no name for a certificate"))?;
                let stream = TlsConnector::from(config).connect(name, tcp).await;
                Box::new(stream.map_err(|error| refused(&reason(&error)))?)
            }
        };
        let mut link = Self { stream, correlation: 0, many_coordinators: false, many_groups: false, shown: None };
        link.greet(connection, at, tokens).await?;
        Ok(link)
    }

    async fn greet(
        &mut self,
        connection: &Connection,
        at: &Endpoint,
        tokens: (&Wallet, Duration),
    ) -> Result<(), Problem> {
        let broken = |broken: Broken| match broken {
            // With TLS 1.3 a broker that wants another certificate says so after the handshake only.
            Broken::Io(error)
                if connection.tls.is_some() && error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) =>
            {
                Problem::tls(at, &reason(&error))
            }
            broken => broken.problem(connection, at),
        };
        let answer = self.exchange_one(messages::api_versions()).await.map_err(broken)?;
        let versions = messages::read_api_versions(&answer).map_err(|malformed| broken(malformed.into()))?;
        let versions = versions.map_err(|_| Problem::stranger(connection, at))?;
        let speaks = |(key, version)| has(&versions, key, version);
        if ![messages::METADATA, messages::LIST_OFFSETS, messages::OFFSET_FETCH, messages::FIND_COORDINATOR]
            .map(speaks)
            .iter()
            .all(|fine| *fine)
        {
            let message = format!("the broker at {at} is older than Kafka 1.0, or something else; use a newer one");
            return Err(Problem::new(windlass_decision::FailureKind::BadAnswer, "metadata.bootstrapServers", message));
        }
        self.many_coordinators = speaks(messages::FIND_COORDINATOR_MANY);
        self.many_groups = speaks(messages::OFFSET_FETCH_MANY);
        match &connection.login {
            Some(login) => self.log_in(connection, at, login, tokens).await,
            None => Ok(()),
        }
    }

    /// Asks, in as few requests as the broker's version allows.
    pub(super) async fn ask(&mut self, request: &Request) -> Result<Answer, Broken> {
        match request {
            Request::Metadata(topics) => {
                let answer = self.exchange_one(messages::metadata(topics)).await?;
                Ok(Answer::Metadata(messages::read_metadata(&answer)?))
            }
            Request::Ends(places) => {
                let answer = self.exchange_one(messages::list_offsets(places)).await?;
                Ok(Answer::Ends(messages::read_list_offsets(&answer)?))
            }
            Request::Coordinators(groups) => {
                let many = self.many_coordinators;
                let parts: Vec<_> = groups.chunks(if many { MAX_GROUPS } else { 1 }).collect();
                let calls = parts.iter().map(|part| messages::find_coordinator(part, many)).collect();
                let answers = self.exchange(calls).await?;
                let mut found = Vec::with_capacity(groups.len());
                for (part, answer) in parts.iter().zip(&answers) {
                    found.extend(messages::read_find_coordinator(answer, part, many)?);
                }
                Ok(Answer::Coordinators(found))
            }
            Request::Commits(groups) => {
                let many = self.many_groups;
                let parts = parts(groups, if many { MAX_GROUPS } else { 1 });
                let calls = parts.iter().map(|part| messages::offset_fetch(part, many)).collect();
                let answers = self.exchange(calls).await?;
                let mut found = Vec::with_capacity(groups.len());
                for (part, answer) in parts.iter().zip(&answers) {
                    found.extend(messages::read_offset_fetch(answer, part, many)?);
                }
                Ok(Answer::Commits(found))
            }
        }
    }

    /// One request and its answer.
    pub(super) async fn exchange_one(&mut self, call: Call) -> Result<Vec<u8>, Broken> {
        self.exchange(vec![call]).await?.pop().ok_or(Broken::Malformed)
    }

    /// Sends requests without waiting between them; brokers answer in the same order.
    async fn exchange(&mut self, calls: Vec<Call>) -> Result<Vec<Vec<u8>>, Broken> {
        let mut answers = Vec::with_capacity(calls.len());
        for calls in calls.chunks(MAX_UNDER_WAY) {
            let first = self.correlation;
            let mut frames = Vec::new();
            for call in calls {
                frames.extend(call.frame(self.correlation));
                self.correlation = self.correlation.wrapping_add(1);
            }
            // Both at once: a broker that waits until its answer is taken reads no further requests.
            let (mut reader, mut writer) = split(&mut self.stream);
            let write = async {
                writer.write_all(&frames).await?;
                writer.flush().await.map_err(Broken::from)
            };
            let read = async {
                let mut read = Vec::with_capacity(calls.len());
                for nth in 0..calls.len() {
                    let wanted = first.wrapping_add(i32::try_from(nth).unwrap_or(0));
                    read.push(answer(&mut reader, wanted).await?);
                }
                Ok::<_, Broken>(read)
            };
            let ((), read) = tokio::try_join!(write, read)?;
            answers.extend(read);
        }
        Ok(answers)
    }
}

/// Groups for one request each: so many at most, and no more partitions than an answer has room for.
fn parts(groups: &[Wanted], most: usize) -> Vec<&[Wanted]> {
    let own = |group: &Wanted| group.1.iter().flatten().map(|(_, partitions)| partitions.len()).sum::<usize>();
    let (mut weight, mut count) = (groups.first().map_or(0, own), 1);
    let joins = |_: &Wanted, next: &Wanted| {
        (weight, count) = (weight + own(next), count + 1);
        let fits = weight <= MAX_PARTITIONS && count <= most;
        if !fits {
            (weight, count) = (own(next), 1);
        }
        fits
    };
    groups.chunk_by(joins).collect()
}

/// One answer, without its length and correlation id. Memory is taken as bytes come, not as the length promises.
async fn answer(reader: &mut (impl AsyncRead + Unpin), correlation: i32) -> Result<Vec<u8>, Broken> {
    let length = reader.read_i32().await?;
    if !(4..=MAX_FRAME).contains(&length) || reader.read_i32().await? != correlation {
        return Err(Broken::Malformed);
    }
    let rest = u64::from(length.unsigned_abs() - 4);
    let mut bytes = Vec::new();
    reader.take(rest).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 != rest {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(bytes)
}

fn has(versions: &Versions, key: i16, version: i16) -> bool {
    versions.get(&key).is_some_and(|(least, most)| (*least..=*most).contains(&version))
}

/// What TLS says of an error, or else the system.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the broker ended the connection".to_owned(),
        _ => root_cause(error).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_asks_for_no_more_than_an_answer_holds() {
        let group = |partitions: i32| (String::new(), Some(Places::from([(String::new(), (0..partitions).collect())])));
        let sizes = |groups: &[Wanted], most| parts(groups, most).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(sizes(&[], 500), [0; 0]);
        assert_eq!(sizes(&vec![group(1); 1001], 500), [500, 500, 1]);
        assert_eq!(sizes(&vec![group(1); 3], 1), [1, 1, 1]);
        assert_eq!(sizes(&[group(6000), group(4000), group(1), group(20_000), group(1)], 500), [2, 1, 1, 1]);
        assert_eq!(sizes(&[(String::new(), None), (String::new(), None)], 500), [2]);
    }
}
