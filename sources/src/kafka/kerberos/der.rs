//! DER, as far as Kerberos' messages need it. Reading trusts nothing: no length is believed that the rest could not hold, and
//! nothing is built before it is read. Never does input or output.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::codec::Malformed;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const GENERALIZED_TIME: u8 = 0x18;
const GENERAL_STRING: u8 = 0x1b;
const SEQUENCE: u8 = 0x30;
const APPLICATION: u8 = 0x60;
const CONTEXT: u8 = 0xa0;

/// An element of any kind.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
            bytes.push(0x80 | length.len() as u8);
            bytes.extend(length);
        }
    }
    bytes.extend(content);
    bytes
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// The field of this number of a sequence.
pub(super) fn field(number: u8, value: &[u8]) -> Vec<u8> {
    element(CONTEXT | number, value)
}

pub(super) fn application(number: u8, value: &[u8]) -> Vec<u8> {
    element(APPLICATION | number, value)
}

pub(super) fn integer(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    // A byte that only repeats the sign is left out.
    let needless = bytes
        .windows(2)
        .take_while(|pair| (pair[0] == 0 && pair[1] & 0x80 == 0) || (pair[0] == 0xff && pair[1] & 0x80 != 0));
    element(INTEGER, &bytes[needless.count()..])
}

/// 32 flags, the first of which is the highest bit.
pub(super) fn flags(value: u32) -> Vec<u8> {
    element(BIT_STRING, &[&[0], &value.to_be_bytes()[..]].concat())
}

pub(super) fn octets(value: &[u8]) -> Vec<u8> {
    element(OCTET_STRING, value)
}

pub(super) fn string(value: &str) -> Vec<u8> {
    element(GENERAL_STRING, value.as_bytes())
}

/// In whole seconds.
pub(super) fn time(value: Timestamp) -> Vec<u8> {
    element(GENERALIZED_TIME, value.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
}

/// What is left to be read of some elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_application(&self, number: u8) -> bool {
        self.0.first() == Some(&(APPLICATION | number))
    }

    /// The next element with its tag and length, which has to be of this kind.
    pub(super) fn whole(&mut self, tag: u8) -> Result<(&'a [u8], Self), Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed)?;
        let (&short, rest) = rest.split_first().ok_or(Malformed)?;
        let (length, rest) = match usize::from(short) {
            short @ ..0x80 => (short, rest),
            long => {
                let (bytes, rest) = rest.split_at_checked(long & 0x7f).ok_or(Malformed)?;
                // None of indefinite length, and none that could not be held.
                if bytes.is_empty() || bytes.len() > 4 {
                    return Err(Malformed);
                }
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        if first != tag {
            return Err(Malformed);
        }
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Ok((whole, Self(content)))
    }

    pub(super) fn element(&mut self, tag: u8) -> Result<Self, Malformed> {
        self.whole(tag).map(|(_, content)| content)
    }

    pub(super) fn sequence(&mut self) -> Result<Self, Malformed> {
        self.element(SEQUENCE)
    }

    /// The fields of an application's sequence.
    pub(super) fn application(&mut self, number: u8) -> Result<Self, Malformed> {
        self.element(APPLICATION | number)?.sequence()
    }

    pub(super) fn field(&mut self, number: u8) -> Result<Self, Malformed> {
        self.element(CONTEXT | number)
    }

    /// The field of this number, if it is the next.
    pub(super) fn optional(&mut self, number: u8) -> Result<Option<Self>, Malformed> {
        if self.0.first() == Some(&(CONTEXT | number)) { self.field(number).map(Some) } else { Ok(None) }
    }

    pub(super) fn integer(&mut self) -> Result<i64, Malformed> {
        let Self(bytes) = self.element(INTEGER)?;
        let negative = *bytes.first().ok_or(Malformed)? & 0x80 != 0;
        if bytes.len() > 8 {
            return Err(Malformed);
        }
        Ok(bytes.iter().fold(if negative { -1 } else { 0 }, |value, byte| value << 8 | i64::from(*byte)))
    }

    pub(super) fn octets(&mut self) -> Result<&'a [u8], Malformed> {
        self.element(OCTET_STRING).map(|Self(bytes)| bytes)
    }

    /// A string, whose bytes are UTF-8 wherever they are more than ASCII at all.
    pub(super) fn string(&mut self) -> Result<String, Malformed> {
        let Self(bytes) = self.element(GENERAL_STRING)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Malformed> {
        let Self(bytes) = self.element(GENERALIZED_TIME)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
        let civil = DateTime::strptime("%Y%m%d%H%M%SZ", text).map_err(|_| Malformed)?;
        civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|_| Malformed)
    }

    /// Reads elements to the end.
    pub(super) fn each<T>(mut self, read: impl Fn(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let mut all = Vec::new();
        while !self.is_empty() {
            all.push(read(&mut self)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_what_the_standard_says() {
        assert_eq!(integer(0), [2, 1, 0]);
        assert_eq!(integer(127), [2, 1, 127]);
        assert_eq!(integer(128), [2, 2, 0, 128]);
        assert_eq!(integer(-128), [2, 1, 128]);
        assert_eq!(integer(-129), [2, 2, 255, 127]);
        assert_eq!(string("RIG"), [0x1b, 3, b'R', b'I', b'G']);
        assert_eq!(flags(0x4000_0000), [3, 5, 0, 0x40, 0, 0, 0]);
        assert_eq!(time(Timestamp::UNIX_EPOCH), b"\x18\x0f19700101000000Z");
        assert_eq!(octets(&[7; 127])[..2], [4, 127]);
        assert_eq!(octets(&[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(octets(&[7; 256])[..4], [4, 0x82, 1, 0]);
        assert_eq!(field(1, &integer(5)), [0xa1, 3, 2, 1, 5]);
        assert_eq!(application(14, &[]), [0x6e, 0]);
    }

    #[test]
    fn no_length_is_believed_that_is_not_there() {
        for bad in
            [&b""[..], b"\x04", b"\x04\x01", b"\x04\x80aa", b"\x04\x85\0\0\0\0\x01a", b"\x04\xff\x01", b"\x02\x01\x05"]
        {
            assert!(Der::new(bad).octets().is_err(), "{bad:?}");
        }
        assert!(Der::new(b"\x02\x00").integer().is_err());
        assert!(Der::new(&element(GENERALIZED_TIME, b"20261331000000Z")).time().is_err());
        assert!(Der::new(&element(GENERALIZED_TIME, b"20261126120000.5Z")).time().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: i64, bytes: Vec<u8>, seconds in 0..4_000_000_000_i64) {
            let at = Timestamp::from_second(seconds).expect("a time");
            let written = sequence(&[field(0, &integer(number)), field(2, &octets(&bytes)), field(3, &time(at))]);
            let mut read = Der::new(&written).sequence().expect("a sequence");
            prop_assert_eq!(read.field(0).and_then(|mut field| field.integer()), Ok(number));
            prop_assert!(matches!(read.optional(1), Ok(None)));
            prop_assert_eq!(read.field(2).and_then(|mut field| field.octets()), Ok(&bytes[..]));
            prop_assert_eq!(read.field(3).and_then(|mut field| field.time()), Ok(at));
            prop_assert!(read.is_empty());
        }
    }
}
