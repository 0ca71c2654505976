//! One event as bytes: a length, a checksum, and what is remembered. What was cut or changed is not taken for an event.

use sha2::{Digest, Sha256};
use windlass_sources::webhook::{Event, EventId, Signature, StreamKey};

/// Length and checksum before each record.
const HEAD: usize = 4 + CHECKSUM;
/// Bytes of the record's SHA-256.
const CHECKSUM: usize = 8;
/// The largest record; a length above it is not one.
const LARGEST: usize = 1 << 20;
const HAS_ID: u8 = 1;
const COUNTS: u8 = 2;

/// Appends a record to `bytes`. Gives `None`, and appends nothing, where it would be too large to be read again.
pub(super) fn encode(event: &Event, bytes: &mut Vec<u8>) -> Option<()> {
    let mut record = Vec::with_capacity(128);
    let id = event.id.map_or(0, |_| HAS_ID);
    record.push(id | if event.counts { COUNTS } else { 0 });
    record.push(match event.stream.signature {
        Signature::Github => 0,
        Signature::Standard => 1,
        Signature::None => 2,
    });
    record.extend(event.at.to_le_bytes());
    text(&event.stream.namespace, &mut record)?;
    text(&event.stream.name, &mut record)?;
    record.extend(event.id.iter().flatten());
    record.extend(u16::try_from(event.values.len()).ok()?.to_le_bytes());
    for (location, value) in &event.values {
        text(location, &mut record)?;
        record.extend(value.to_bits().to_le_bytes());
    }
    if record.len() > LARGEST {
        return None;
    }
    bytes.extend(u32::try_from(record.len()).ok()?.to_le_bytes());
    bytes.extend(&Sha256::digest(&record)[..CHECKSUM]);
    bytes.extend(record);
    Some(())
}

fn text(text: &str, record: &mut Vec<u8>) -> Option<()> {
    record.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
    record.extend(text.as_bytes());
    Some(())
}

/// The events at the beginning of `bytes`, and how many bytes they take: up to the first record that is not whole.
pub(super) fn decode(bytes: &[u8]) -> (Vec<Event>, usize) {
    let (mut events, mut taken) = (Vec::new(), 0);
    while let Some((event, length)) = bytes.get(taken..).and_then(next) {
        events.push(event);
        taken += length;
    }
    (events, taken)
}

fn next(bytes: &[u8]) -> Option<(Event, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= LARGEST)?;
    let (checksum, rest) = rest.split_at_checked(CHECKSUM)?;
    let record = rest.get(..length)?;
    (Sha256::digest(record)[..CHECKSUM] == *checksum).then_some(())?;
    Some((event(record)?, HEAD + length))
}

fn event(record: &[u8]) -> Option<Event> {
    let mut rest = record;
    let [flags, signature] = take(&mut rest)?;
    let at = i64::from_le_bytes(take(&mut rest)?);
    let signature = match signature {
        0 => Signature::Github,
        1 => Signature::Standard,
        2 => Signature::None,
        _ => return None,
    };
    let (namespace, name) = (take_text(&mut rest)?, take_text(&mut rest)?);
    let id = if flags & HAS_ID == 0 { None } else { Some(take::<{ size_of::<EventId>() }>(&mut rest)?) };
    let count = u16::from_le_bytes(take(&mut rest)?);
    let mut values = Vec::new();
    for _ in 0..count {
        let location = take_text(&mut rest)?;
        values.push((location, f64::from_bits(u64::from_le_bytes(take(&mut rest)?))));
    }
    let stream = StreamKey { namespace, name, signature };
    rest.is_empty().then_some(Event { stream, id, at, values, counts: flags & COUNTS != 0 })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::from(u16::from_le_bytes(take(rest)?));
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    String::from_utf8(text.to_vec()).ok()
}
