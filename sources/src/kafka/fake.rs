//! A cluster within the test: real sockets and the real protocol, of which it speaks what is asked here, with faults that a
//! real one cannot be brought to at will. Each of its brokers answers from the same state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::codec::{Reader, Writer};
use super::messages::{FIND_COORDINATOR, LIST_OFFSETS, METADATA, OFFSET_FETCH};

/// What the cluster is, and what is wrong with it.
#[derive(Default)]
pub(super) struct State {
    /// The port of each node.
    pub(super) nodes: BTreeMap<i32, u16>,
    /// The leader and the end of each partition.
    pub(super) partitions: BTreeMap<String, Vec<(i32, i64)>>,
    /// By group, topic and partition.
    pub(super) commits: HashMap<String, BTreeMap<String, BTreeMap<i32, i64>>>,
    /// The node that coordinates all groups.
    pub(super) coordinator: i32,
    /// Groups whose commits are answered with this code, so many times.
    pub(super) refused: HashMap<String, (i16, usize)>,
    /// The host that each broker says it is at, if not the one it is at.
    pub(super) host: Option<&'static str>,
    /// The highest versions are those of Kafka 1.0.
    pub(super) old: bool,
    /// Nodes that take what is sent and say nothing.
    pub(super) silent: BTreeSet<i32>,
    /// Each connection is closed after so many answers.
    pub(super) hangs_up_after: Option<usize>,
    /// How long each answer takes.
    pub(super) takes: Duration,
    /// What was asked, by the number of the request, since the last look.
    pub(super) asked: Vec<i16>,
}

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// A cluster of so many brokers, on loopback.
    pub(super) async fn start(nodes: i32) -> Self {
        let fake = Self::default();
        fake.state().coordinator = 1;
        for node in 1..=nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            fake.state().nodes.insert(node, listener.local_addr().expect("an address").port());
            let fake = fake.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(fake.clone().serve(node, stream));
                }
            });
        }
        fake
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }

    /// How often each request was made since the last look: metadata, ends, coordinators, commits.
    pub(super) fn counts(&self) -> [usize; 4] {
        let asked = std::mem::take(&mut self.state().asked);
        [METADATA, LIST_OFFSETS, FIND_COORDINATOR, OFFSET_FETCH]
            .map(|(key, _)| asked.iter().filter(|one| **one == key).count())
    }

    async fn serve(self, node: i32, mut stream: TcpStream) {
        let mut answered = 0;
        while let Ok(length) = stream.read_u32().await {
            let mut request = vec![0; length as usize];
            if stream.read_exact(&mut request).await.is_err()
                || self.state().hangs_up_after.is_some_and(|most| answered >= most)
            {
                return;
            }
            let (takes, silent) = {
                let state = self.state();
                (state.takes, state.silent.contains(&node))
            };
            if silent {
                continue;
            }
            tokio::time::sleep(takes).await;
            let answer = self.answer(node, &request);
            let sent = [&(answer.len() as u32).to_be_bytes()[..], &answer].concat();
            if stream.write_all(&sent).await.is_err() {
                return;
            }
            answered += 1;
        }
    }

    fn answer(&self, node: i32, request: &[u8]) -> Vec<u8> {
        let mut header = Reader::new(request, false);
        let (key, version) = (header.i16().expect("a key"), header.i16().expect("a version"));
        let many = (key == OFFSET_FETCH.0 && version >= 6) || (key == FIND_COORDINATOR.0 && version >= 3);
        let mut state = self.state();
        state.asked.push(key);
        let mut reader = Reader::new(&request[4..], many);
        let mut writer = Writer::new(many);
        writer.i32(reader.i32().expect("a correlation id"));
        // The client's name, in the older form.
        let name = Reader::new(&request[8..], false).string().expect("a name").len();
        let mut reader = Reader::new(&request[10 + name..], many);
        reader.end().expect("tagged fields");
        writer.end();
        match key {
            18 => {
                let versions = [(3, 5, 12), (2, 2, 7), (10, 1, 4), (9, 3, 8)];
                writer.i16(0);
                writer.length(Some(versions.len()));
                for (key, old, new) in versions {
                    writer.i16(key);
                    writer.i16(0);
                    writer.i16(if state.old { old } else { new });
                }
            }
            3 => state.metadata(&mut reader, &mut writer),
            2 => state.ends(node, &mut reader, &mut writer),
            10 => state.coordinators(many, &mut reader, &mut writer),
            9 => state.commits(node, many, &mut reader, &mut writer),
            other => panic!("request {other}"),
        }
        writer.into_bytes()
    }
}

impl State {
    fn metadata(&self, reader: &mut Reader<'_>, writer: &mut Writer) {
        let topics = reader.each(Reader::string).expect("topics");
        assert_eq!(reader.i8(), Ok(0), "a topic would be created");
        writer.i32(0);
        writer.length(Some(self.nodes.len()));
        for (node, port) in &self.nodes {
            writer.i32(*node);
            writer.string(self.host.unwrap_or("127.0.0.1"));
            writer.i32(i32::from(*port));
            writer.i16(-1);
        }
        writer.i16(-1);
        writer.i32(1);
        writer.length(Some(topics.len()));
        for topic in topics {
            let partitions = self.partitions.get(topic);
            writer.i16(if partitions.is_some() { 0 } else { 3 });
            writer.string(topic);
            writer.i8(0);
            writer.length(Some(partitions.map_or(0, Vec::len)));
            for (index, (leader, _)) in partitions.into_iter().flatten().enumerate() {
                writer.i16(0);
                writer.i32(index as i32);
                writer.i32(*leader);
                writer.length(Some(0));
                writer.length(Some(0));
            }
        }
    }

    fn ends(&self, node: i32, reader: &mut Reader<'_>, writer: &mut Writer) {
        let _replica = reader.i32();
        assert_eq!(reader.i8(), Ok(0), "an open transaction would hide messages");
        let topics = reader
            .each(|reader| Ok((reader.string()?, reader.each(|reader| Ok((reader.i32()?, reader.i64()?)))?)))
            .expect("topics");
        writer.i32(0);
        writer.length(Some(topics.len()));
        for (topic, partitions) in topics {
            writer.string(topic);
            writer.length(Some(partitions.len()));
            for (partition, time) in partitions {
                assert_eq!(time, -1);
                let known = self.partitions.get(topic).and_then(|all| all.get(partition as usize));
                let (code, end) = match known {
                    Some((leader, end)) if *leader == node => (0, *end),
                    Some(_) => (6, -1),
                    None => (3, -1),
                };
                writer.i32(partition);
                writer.i16(code);
                writer.i64(-1);
                writer.i64(end);
            }
        }
    }

    fn coordinators(&self, many: bool, reader: &mut Reader<'_>, writer: &mut Writer) {
        let port = i32::from(self.nodes[&self.coordinator]);
        writer.i32(0);
        if !many {
            writer.i16(0);
            writer.i16(-1);
            writer.i32(self.coordinator);
            writer.string(self.host.unwrap_or("127.0.0.1"));
            writer.i32(port);
            return;
        }
        assert_eq!(reader.i8(), Ok(0));
        let groups = reader.each(Reader::string).expect("groups");
        writer.length(Some(groups.len()));
        for group in groups {
            writer.string(group);
            writer.i32(self.coordinator);
            writer.string(self.host.unwrap_or("127.0.0.1"));
            writer.i32(port);
            writer.i16(0);
            writer.length(None);
            writer.end();
        }
        writer.end();
    }

    fn commits(&mut self, node: i32, many: bool, reader: &mut Reader<'_>, writer: &mut Writer) {
        let group = |reader: &mut Reader<'_>| {
            let group = reader.string()?.to_owned();
            let topics = reader.each(|reader| {
                let topic = (reader.string()?.to_owned(), reader.each(Reader::i32)?);
                reader.end()?;
                Ok(topic)
            })?;
            reader.end()?;
            Ok((group, topics))
        };
        let groups = if many { reader.each(group) } else { group(reader).map(|one| vec![one]) }.expect("groups");
        writer.i32(0);
        if many {
            writer.length(Some(groups.len()));
        }
        for (group, topics) in groups {
            let code = match self.refused.get_mut(&group) {
                _ if node != self.coordinator => 16,
                Some((code, times)) if *times > 0 => {
                    *times -= 1;
                    *code
                }
                _ => 0,
            };
            if many {
                writer.string(&group);
            }
            let commits = self.commits.get(&group).cloned().unwrap_or_default();
            let all = |commits: BTreeMap<i32, i64>| commits.into_keys().collect();
            let asked: Vec<(String, Vec<i32>)> = match () {
                () if code != 0 => Vec::new(),
                () if topics.is_empty() => commits.clone().into_iter().map(|(topic, one)| (topic, all(one))).collect(),
                () => topics,
            };
            writer.length(Some(asked.len()));
            for (topic, partitions) in asked {
                writer.string(&topic);
                writer.length(Some(partitions.len()));
                for partition in partitions {
                    writer.i32(partition);
                    writer.i64(commits.get(&topic).and_then(|one| one.get(&partition)).copied().unwrap_or(-1));
                    if many {
                        writer.i32(-1);
                    }
                    writer.string("");
                    writer.i16(0);
                    writer.end();
                }
                writer.end();
            }
            writer.i16(code);
            writer.end();
        }
        writer.end();
    }
}
