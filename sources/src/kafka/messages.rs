//! The few requests of Kafka's protocol that a lag needs, in versions that brokers of 1.0 to 4.x all speak, and what is
//! answered to them. Error codes are handed on as they are. Never does input or output.

use std::collections::BTreeMap;

use super::codec::{Malformed, Reader, Writer};

/// The name that brokers see in their logs and quotas.
const CLIENT_ID: &str = "windlass";
/// The high watermark, as `ListOffsets` asks for it.
const LATEST: i64 = -1;
/// Asked for with this isolation the end is the high watermark; otherwise an open transaction would hold it back.
const READ_UNCOMMITTED: i8 = 0;

/// One request, but for its correlation id.
#[derive(Debug)]
pub(super) struct Call {
    key: i16,
    version: i16,
    flexible: bool,
    body: Vec<u8>,
}

impl Call {
    fn new(key: i16, version: i16, writer: Writer, flexible: bool) -> Self {
        Self { key, version, flexible, body: writer.into_bytes() }
    }

    /// The frame with its length in front.
    pub(super) fn frame(&self, correlation: i32) -> Vec<u8> {
        let mut header = Writer::new(self.flexible);
        header.i16(self.key);
        header.i16(self.version);
        header.i32(correlation);
        header.short_string(CLIENT_ID);
        header.end();
        let header = header.into_bytes();
        let mut frame = Vec::with_capacity(4 + header.len() + self.body.len());
        let length = i32::try_from(header.len() + self.body.len()).unwrap_or(i32::MAX);
        frame.extend(length.to_be_bytes());
        frame.extend(header);
        frame.extend(&self.body);
        frame
    }
}

/// An error code of the protocol, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Code(pub(super) i16);

fn checked<T>(code: i16, value: T) -> Result<T, Code> {
    if code == 0 { Ok(value) } else { Err(Code(code)) }
}

/// Partitions of topics.
pub(super) type Places = BTreeMap<String, Vec<i32>>;

/// The highest versions that a broker speaks, by request.
pub(super) type Versions = BTreeMap<i16, (i16, i16)>;

pub(super) const METADATA: (i16, i16) = (3, 4);
pub(super) const LIST_OFFSETS: (i16, i16) = (2, 2);
pub(super) const OFFSET_FETCH: (i16, i16) = (9, 3);
pub(super) const OFFSET_FETCH_MANY: (i16, i16) = (9, 8);
pub(super) const FIND_COORDINATOR: (i16, i16) = (10, 1);
pub(super) const FIND_COORDINATOR_MANY: (i16, i16) = (10, 4);

pub(super) fn api_versions() -> Call {
    Call::new(18, 0, Writer::new(false), false)
}

pub(super) fn read_api_versions(bytes: &[u8]) -> Result<Result<Versions, Code>, Malformed> {
    let mut reader = Reader::new(bytes, false);
    let code = reader.i16()?;
    let versions = reader.each(|reader| Ok((reader.i16()?, (reader.i16()?, reader.i16()?))))?;
    Ok(checked(code, versions.into_iter().collect()))
}

pub(super) fn sasl_handshake(mechanism: &str) -> Call {
    let mut writer = Writer::new(false);
    writer.string(mechanism);
    Call::new(17, 1, writer, false)
}

/// The code, if it is not 0, with the mechanisms that the broker knows.
pub(super) fn read_sasl_handshake(bytes: &[u8]) -> Result<Result<(), (Code, String)>, Malformed> {
    let mut reader = Reader::new(bytes, false);
    let code = reader.i16()?;
    let known = reader.each(Reader::string)?.join(", ");
    Ok(checked(code, ()).map_err(|code| (code, known)))
}

pub(super) fn sasl_authenticate(token: &[u8]) -> Call {
    let mut writer = Writer::new(false);
    writer.bytes(token);
    Call::new(36, 0, writer, false)
}

/// The broker's token, or its code and sentence.
pub(super) fn read_sasl_authenticate(bytes: &[u8]) -> Result<Result<Vec<u8>, (Code, String)>, Malformed> {
    let mut reader = Reader::new(bytes, false);
    let code = reader.i16()?;
    let said = reader.optional_string()?.unwrap_or_default().to_owned();
    let token = reader.bytes()?.to_vec();
    Ok(checked(code, token).map_err(|code| (code, said)))
}

/// Where brokers listen, and who leads which partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) brokers: Vec<Broker>,
    /// The leader of each partition, by topic.
    pub(super) topics: Vec<(String, Result<Leaders, Code>)>,
}

/// What is answered about each group.
pub(super) type ByGroup<T> = Vec<(String, Result<T, Code>)>;
/// Node id, host and port.
pub(super) type Broker = (i32, String, u16);
/// The node that leads each partition.
pub(super) type Leaders = BTreeMap<i32, Result<i32, Code>>;

pub(super) fn metadata(topics: &[String]) -> Call {
    let mut writer = Writer::new(false);
    writer.length(Some(topics.len()));
    topics.iter().for_each(|topic| writer.string(topic));
    // A topic that is not there is never made by asking for it.
    writer.i8(0);
    Call::new(METADATA.0, METADATA.1, writer, false)
}

fn port(port: i32) -> Result<u16, Malformed> {
    u16::try_from(port).map_err(|_| Malformed)
}

pub(super) fn read_metadata(bytes: &[u8]) -> Result<Metadata, Malformed> {
    let mut reader = Reader::new(bytes, false);
    let _throttled = reader.i32()?;
    let brokers = reader.each(|reader| {
        let broker = (reader.i32()?, reader.string()?.to_owned(), port(reader.i32()?)?);
        let _rack = reader.optional_string()?;
        Ok(broker)
    })?;
    let _cluster = reader.optional_string()?;
    let _controller = reader.i32()?;
    let topics = reader.each(|reader| {
        let code = reader.i16()?;
        let name = reader.string()?.to_owned();
        let _internal = reader.i8()?;
        let leaders = reader.each(|reader| {
            let code = reader.i16()?;
            let (partition, leader) = (reader.i32()?, reader.i32()?);
            let _replicas = reader.each(Reader::i32)?;
            let _in_sync = reader.each(Reader::i32)?;
            // An error of a replica is none of the leader's.
            Ok((partition, if leader >= 0 { Ok(leader) } else { Err(Code(if code == 0 { 5 } else { code })) }))
        })?;
        Ok((name, checked(code, leaders.into_iter().collect())))
    })?;
    Ok(Metadata { brokers, topics })
}

pub(super) fn list_offsets(places: &Places) -> Call {
    let mut writer = Writer::new(false);
    writer.i32(-1);
    writer.i8(READ_UNCOMMITTED);
    writer.length(Some(places.len()));
    for (topic, partitions) in places {
        writer.string(topic);
        writer.length(Some(partitions.len()));
        for partition in partitions {
            writer.i32(*partition);
            writer.i64(LATEST);
        }
    }
    Call::new(LIST_OFFSETS.0, LIST_OFFSETS.1, writer, false)
}

/// The end of each partition asked about.
pub(super) type Ends = BTreeMap<String, BTreeMap<i32, Result<i64, Code>>>;

pub(super) fn read_list_offsets(bytes: &[u8]) -> Result<Ends, Malformed> {
    let mut reader = Reader::new(bytes, false);
    let _throttled = reader.i32()?;
    let topics = reader.each(|reader| {
        let name = reader.string()?.to_owned();
        let partitions = reader.each(|reader| {
            let (partition, code, _timestamp, offset) = (reader.i32()?, reader.i16()?, reader.i64()?, reader.i64()?);
            if code == 0 && offset < 0 {
                return Err(Malformed);
            }
            Ok((partition, checked(code, offset)))
        })?;
        Ok((name, partitions.into_iter().collect()))
    })?;
    Ok(topics.into_iter().collect())
}

/// The groups whose coordinators are looked for: one of the older form, or many.
pub(super) fn find_coordinator(groups: &[String], many: bool) -> Call {
    let mut writer = Writer::new(many);
    if many {
        writer.i8(0);
        writer.length(Some(groups.len()));
        groups.iter().for_each(|group| writer.string(group));
        writer.end();
        return Call::new(FIND_COORDINATOR_MANY.0, FIND_COORDINATOR_MANY.1, writer, true);
    }
    writer.string(groups.first().map_or("", String::as_str));
    writer.i8(0);
    Call::new(FIND_COORDINATOR.0, FIND_COORDINATOR.1, writer, false)
}

/// The coordinator of each group.
pub(super) fn read_find_coordinator(bytes: &[u8], groups: &[String], many: bool) -> Result<ByGroup<Broker>, Malformed> {
    let mut reader = Reader::new(bytes, many);
    if many {
        reader.end()?;
    }
    let _throttled = reader.i32()?;
    if many {
        return reader.each(|reader| {
            let group = reader.string()?.to_owned();
            let (node, host, at) = (reader.i32()?, reader.string()?.to_owned(), reader.i32()?);
            let code = reader.i16()?;
            let _said = reader.optional_string()?;
            reader.end()?;
            Ok((group, coordinator(code, node, host, at)?))
        });
    }
    let code = reader.i16()?;
    let _said = reader.optional_string()?;
    let (node, host, at) = (reader.i32()?, reader.string()?.to_owned(), reader.i32()?);
    Ok(vec![(groups.first().cloned().unwrap_or_default(), coordinator(code, node, host, at)?)])
}

/// With an error the broker's place is not one.
fn coordinator(code: i16, node: i32, host: String, at: i32) -> Result<Result<Broker, Code>, Malformed> {
    if code == 0 { Ok(Ok((node, host, port(at)?))) } else { Ok(Err(Code(code))) }
}

/// What is asked of one group: these partitions, or (`None`) all that it has commits for.
pub(super) type Wanted = (String, Option<Places>);
/// The commits of a group; a partition without one is not there, or `None`.
pub(super) type Commits = BTreeMap<String, BTreeMap<i32, Result<Option<i64>, Code>>>;

/// The groups whose commits are asked for: one of the older form, or many.
pub(super) fn offset_fetch(groups: &[Wanted], many: bool) -> Call {
    let mut writer = Writer::new(many);
    if many {
        writer.length(Some(groups.len()));
    }
    for (group, places) in groups {
        writer.string(group);
        writer.length(places.as_ref().map(Places::len));
        for (topic, partitions) in places.iter().flatten() {
            writer.string(topic);
            writer.length(Some(partitions.len()));
            partitions.iter().for_each(|partition| writer.i32(*partition));
            writer.end();
        }
        writer.end();
    }
    if !many {
        return Call::new(OFFSET_FETCH.0, OFFSET_FETCH.1, writer, false);
    }
    // Commits of open transactions are not waited for.
    writer.i8(0);
    writer.end();
    Call::new(OFFSET_FETCH_MANY.0, OFFSET_FETCH_MANY.1, writer, true)
}

/// The commits of each group.
pub(super) fn read_offset_fetch(bytes: &[u8], groups: &[Wanted], many: bool) -> Result<ByGroup<Commits>, Malformed> {
    let mut reader = Reader::new(bytes, many);
    if many {
        reader.end()?;
    }
    let _throttled = reader.i32()?;
    if many {
        return reader.each(|reader| {
            let group = reader.string()?.to_owned();
            let commits = commits(reader, many)?;
            let code = reader.i16()?;
            reader.end()?;
            Ok((group, checked(code, commits)))
        });
    }
    let commits = commits(&mut reader, many)?;
    let code = reader.i16()?;
    Ok(vec![(groups.first().map(|(group, _)| group.clone()).unwrap_or_default(), checked(code, commits))])
}

fn commits(reader: &mut Reader<'_>, many: bool) -> Result<Commits, Malformed> {
    let topics = reader.each(|reader| {
        let name = reader.string()?.to_owned();
        let partitions = reader.each(|reader| {
            let (partition, offset) = (reader.i32()?, reader.i64()?);
            if many {
                let _epoch = reader.i32()?;
            }
            let _note = reader.optional_string()?;
            let code = reader.i16()?;
            reader.end()?;
            Ok((partition, checked(code, (offset >= 0).then_some(offset))))
        })?;
        reader.end()?;
        Ok((name, partitions.into_iter().collect()))
    })?;
    Ok(topics.into_iter().collect())
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
