//! Turning errors of the network and codes of the protocol into outcomes with a sentence for a person. Never repeats a
//! credential.

use windlass_decision::{Clock, Failure, FailureKind, Outcome};

use super::config::{Connection, Endpoint};
use super::kerberos;
use super::login::Login;
use super::messages::Code;
use super::vanished::BELIEVED_AFTER;
use crate::http::Denied;

/// Why something was not read, without a time yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: FailureKind,
    pub(super) field: Option<&'static str>,
    pub(super) message: String,
    absent: bool,
    /// It is the login's, or that of whoever hands out what it needs, and no broker's.
    of_login: bool,
    /// With another token it may go well.
    pub(super) worth_another: bool,
}

const SERVERS: &str = "metadata.bootstrapServers";
const TOPIC: &str = "metadata.topic";
const GROUP: &str = "metadata.consumerGroup";

impl Problem {
    pub(super) fn new(kind: FailureKind, field: &'static str, message: impl Into<String>) -> Self {
        Self { kind, field: Some(field), message: message.into(), absent: false, of_login: false, worth_another: false }
    }

    /// The cluster answered that it is not there.
    pub(super) fn absent(field: &'static str, message: impl Into<String>) -> Self {
        Self { absent: true, ..Self::new(FailureKind::NotFound, field, message) }
    }

    /// A broker cannot be reached; `why` is what the system says.
    pub(super) fn unreachable(connection: &Connection, at: &Endpoint, why: &str) -> Self {
        let advice = if connection.bootstrap.contains(at) {
            "check bootstrapServers, the port and network policies"
        } else {
            "this address comes from the cluster itself: check its advertised.listeners, and network policies"
        };
        Self::new(FailureKind::Unreachable, SERVERS, format!("cannot reach the broker at {at}: {why}; {advice}"))
    }

    /// The address is not one that may be connected to.
    pub(super) fn denied(at: &Endpoint, denied: Denied) -> Self {
        Self::new(FailureKind::Unreachable, SERVERS, denied.sentence(at))
    }

    /// No answer in time.
    pub(super) fn timeout(at: &Endpoint) -> Self {
        let message = format!("the broker at {at} did not answer in time; check its load and the network");
        Self::new(FailureKind::Timeout, SERVERS, message)
    }

    /// Nobody answered in time, and nobody in particular.
    pub(super) fn too_late(connection: &Connection) -> Self {
        let names: Vec<_> = connection.bootstrap.iter().map(ToString::to_string).collect();
        let message =
            format!("the cluster at {} did not answer in time; check its load and the network", names.join(", "));
        Self::new(FailureKind::Timeout, SERVERS, message)
    }

    /// TLS could not be established.
    pub(super) fn tls(at: &Endpoint, why: &str) -> Self {
        let message = format!(
            "no TLS with the broker at {at}: {why}; give the authority of its certificate as ca, and use the port that speaks TLS"
        );
        Self::new(FailureKind::Tls, "metadata.ca", message)
    }

    /// What listens there answers something else.
    pub(super) fn stranger(connection: &Connection, at: &Endpoint) -> Self {
        let advice = if connection.tls.is_some() {
            "check the port"
        } else {
            "check the port, or write tls: enable if it speaks TLS"
        };
        Self::new(
            FailureKind::BadAnswer,
            SERVERS,
            format!("what listens at {at} does not speak Kafka's protocol; {advice}"),
        )
    }

    /// The broker hung up where it should have answered the first words.
    pub(super) fn hung_up(connection: &Connection, at: &Endpoint) -> Self {
        let advice = match (&connection.tls, &connection.login) {
            (None, None) => {
                "check bootstrapServers; a listener with TLS needs tls: enable, one with a login needs sasl"
            }
            (Some(_), None) => "check bootstrapServers; a listener with a login needs sasl",
            (None, Some(_)) => "check bootstrapServers; a listener with TLS needs tls: enable",
            (Some(_), Some(_)) => "check bootstrapServers, and the broker's log",
        };
        Self::new(FailureKind::Unreachable, SERVERS, format!("the broker at {at} ended the connection; {advice}"))
    }

    /// Wrong user or password; `said` is the broker's own sentence.
    pub(super) fn credentials(connection: &Connection, at: &Endpoint, said: &str) -> Self {
        let who = who(connection);
        let said = if said.is_empty() { String::new() } else { format!(" (it says: {})", shortened(said)) };
        let login = connection.login.as_ref();
        let advice = login.map_or("check sasl", Login::advice);
        let message = format!("the broker at {at} refused the credentials of {who}{said}; {advice}");
        Self::new(FailureKind::Unauthorised, login.map_or("metadata.sasl", Login::field), message)
    }

    /// The operator's own identity is shown to brokers of AWS alone.
    pub(super) fn not_of_aws(at: &Endpoint, region: &str) -> Self {
        let message = format!(
            "the broker at {at} is not shown the operator's own AWS identity: it is no broker of MSK in {region}; correct awsRegion or \
             the cluster's advertised.listeners, or give keys by a TriggerAuthentication"
        );
        Self::new(FailureKind::Unauthorised, SERVERS, message)
    }

    /// Whoever hands out what a login needs does not.
    pub(super) fn of_login(kind: FailureKind, field: &'static str, message: String) -> Self {
        Self { of_login: true, ..Self::new(kind, field, message) }
    }

    /// Whether the login is to blame, or whoever hands out what it needs, and not a broker.
    pub(super) fn is_of_login(&self) -> bool {
        self.of_login || self.kind == FailureKind::Unauthorised || self.field == Some(kerberos::CONF)
    }

    /// Whether it says that a broker, and not whoever hands out tokens, did not answer in time.
    pub(super) fn is_silence(&self) -> bool {
        self.kind == FailureKind::Timeout && !self.is_of_login()
    }

    /// The listener does not know the mechanism, or none at all.
    pub(super) fn mechanism(connection: &Connection, at: &Endpoint, code: Code, known: &str) -> Self {
        let ours = connection.login.as_ref().map_or("", Login::mechanism);
        let message = if known.is_empty() {
            format!(
                "the broker at {at} takes no login on this port ({code}); write sasl: none, or use the port with a login"
            )
        } else {
            format!("the broker at {at} takes no login by {ours}, but by {}; correct sasl", shortened(known))
        };
        Self::new(FailureKind::Unauthorised, "metadata.sasl", message)
    }

    /// The brokers' answer about a topic.
    pub(super) fn topic(connection: &Connection, topic: &str, code: Code) -> Self {
        match code {
            Code::UNKNOWN_TOPIC | Code::INVALID_TOPIC => {
                let message = format!("there is no topic {topic:?} in the cluster; create it, or correct topic");
                Self::absent(TOPIC, message)
            }
            Code::TOPIC_FORBIDDEN => {
                let message = format!(
                    "{} may not see the topic {topic:?}; grant Describe on it (kafka-acls --operation Describe --topic), or \
                     correct topic",
                    who(connection)
                );
                Self::new(FailureKind::Unauthorised, TOPIC, message)
            }
            code => {
                let message = format!("the cluster does not tell about the topic {topic:?}: {code}; it is tried again");
                Self::new(FailureKind::BadAnswer, TOPIC, message)
            }
        }
    }

    /// The brokers' answer about a topic that a group has commits for: it is not the trigger's word that it is there.
    pub(super) fn topic_of_group(connection: &Connection, group: &str, topic: &str, code: Code) -> Self {
        let problem = Self::topic(connection, topic, code);
        if !problem.absent {
            return problem;
        }
        let message = format!(
            "the consumer group {group:?} has commits for the topic {topic:?}, which is not there; name the topic to read, or \
             delete the group's offsets of it"
        );
        Self::new(FailureKind::BadAnswer, GROUP, message)
    }

    /// A group that would say by its commits which topics it reads.
    pub(super) fn group_without_commits(group: &str) -> Self {
        let message = format!(
            "the consumer group {group:?} has committed nothing, so that its topics are not known; name the topic, or start a \
             consumer once"
        );
        Self::absent(GROUP, message)
    }

    /// `partitionLimitation` leaves nothing of the topic.
    pub(super) fn no_such_partition(topic: &str, count: usize) -> Self {
        let message = format!(
            "the topic {topic:?} has {count} partitions, and none of those in partitionLimitation; correct it (they count from 0)"
        );
        Self::absent("metadata.partitionLimitation", message)
    }

    /// A leader or coordinator that is no broker of the cluster at present.
    pub(super) fn unknown_node(connection: &Connection, node: i32) -> Self {
        let names: Vec<_> = connection.bootstrap.iter().map(ToString::to_string).collect();
        let message = format!("broker {node} of the cluster at {} is gone; it is tried again", names.join(", "));
        Self::new(FailureKind::Unreachable, SERVERS, message)
    }

    /// The brokers' answer about the end of a partition.
    pub(super) fn partition(connection: &Connection, topic: &str, partition: i32, code: Code) -> Self {
        if code == Code::TOPIC_FORBIDDEN {
            return Self::topic(connection, topic, code);
        }
        let message = format!("partition {partition} of the topic {topic:?} cannot be read: {code}; it is tried again");
        Self::new(FailureKind::BadAnswer, TOPIC, message)
    }

    /// The brokers' answer about a group.
    pub(super) fn group(connection: &Connection, group: &str, code: Code) -> Self {
        match code {
            Code::GROUP_FORBIDDEN => {
                let message = format!(
                    "{} may not see the consumer group {group:?}; grant Describe on it (kafka-acls --operation Describe --group), \
                     or correct consumerGroup",
                    who(connection)
                );
                Self::new(FailureKind::Unauthorised, GROUP, message)
            }
            code => {
                let message =
                    format!("the commits of the consumer group {group:?} cannot be read: {code}; it is tried again");
                Self::new(FailureKind::BadAnswer, GROUP, message)
            }
        }
    }

    /// Commits that were there at the reading before.
    pub(super) fn vanished(group: &str) -> Self {
        let message = format!(
            "the commits of the consumer group {group:?} are gone all at once; that is believed after {} s, since a coordinator that \
             has just started may not know them yet",
            BELIEVED_AFTER.as_secs()
        );
        Self::new(FailureKind::BadAnswer, GROUP, message)
    }

    pub(super) fn outcome(self, clock: &dyn Clock) -> Outcome {
        let absent = self.absent;
        let failure = Failure { kind: self.kind, message: self.message, field: self.field, at: clock.now() };
        if absent { Outcome::Absent(failure) } else { Outcome::Failed(failure) }
    }

    /// Of two problems with the cluster as a whole the one that says more.
    pub(super) fn or_worse(self, other: Self) -> Self {
        const fn weight(kind: FailureKind) -> u8 {
            match kind {
                FailureKind::Unauthorised => 5,
                FailureKind::Tls => 4,
                FailureKind::BadAnswer => 3,
                FailureKind::NotFound => 2,
                FailureKind::Timeout => 1,
                FailureKind::Unreachable => 0,
            }
        }
        if weight(other.kind) > weight(self.kind) { other } else { self }
    }
}

fn who(connection: &Connection) -> String {
    match &connection.login {
        Some(login) => login.to_string(),
        None if connection.tls.as_ref().is_some_and(|tls| tls.cert.is_some()) => "the subject of cert".to_owned(),
        None => "whoever comes without a login".to_owned(),
    }
}

impl Code {
    pub(super) const UNKNOWN_TOPIC: Self = Self(3);
    pub(super) const LEADER_NOT_AVAILABLE: Self = Self(5);
    pub(super) const NOT_LEADER: Self = Self(6);
    pub(super) const LOADING: Self = Self(14);
    pub(super) const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    pub(super) const NOT_COORDINATOR: Self = Self(16);
    pub(super) const INVALID_TOPIC: Self = Self(17);
    pub(super) const TOPIC_FORBIDDEN: Self = Self(29);
    pub(super) const GROUP_FORBIDDEN: Self = Self(30);

    /// Whether the cluster may have moved what was asked for: worth another look at once.
    pub(super) fn is_moved(self) -> bool {
        const REPLICA_NOT_AVAILABLE: Code = Code(9);
        const FENCED_LEADER_EPOCH: Code = Code(74);
        const OFFSET_NOT_AVAILABLE: Code = Code(78);
        [
            Self::UNKNOWN_TOPIC,
            Self::LEADER_NOT_AVAILABLE,
            Self::NOT_LEADER,
            REPLICA_NOT_AVAILABLE,
            FENCED_LEADER_EPOCH,
            OFFSET_NOT_AVAILABLE,
        ]
        .contains(&self)
    }

    /// Whether a coordinator moves or starts: over in a moment.
    pub(super) fn is_settling(self) -> bool {
        [Self::LOADING, Self::COORDINATOR_NOT_AVAILABLE, Self::NOT_COORDINATOR].contains(&self)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = match *self {
            Self::UNKNOWN_TOPIC => "it is not there",
            Self::LEADER_NOT_AVAILABLE => "it has no leader at present",
            Self::NOT_LEADER => "its leader is moving",
            Self::LOADING => "the coordinator of the group is starting",
            Self::COORDINATOR_NOT_AVAILABLE => "the group has no coordinator at present",
            Self::NOT_COORDINATOR => "the coordinator of the group is moving",
            Self(34) => "illegal SASL state",
            Self(code) => return write!(f, "error {code} of Kafka's protocol"),
        };
        f.write_str(said)
    }
}

/// The first 200 characters of what the broker says, without line breaks.
pub(super) fn shortened(said: &str) -> String {
    said.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
