//! The primitive types of Kafka's protocol, in its older form and in the "flexible" one (compact lengths, tagged fields).
//! Reading trusts nothing: no length is believed that the rest of the answer could not hold. Never does input or output.

/// An answer that is not what the protocol says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// A request being written.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    flexible: bool,
}

impl Writer {
    pub(super) const fn new(flexible: bool) -> Self {
        Self { bytes: Vec::new(), flexible }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes.extend(value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.extend(value.to_be_bytes());
    }

    /// A string of the older form whatever the request's form is: headers have one.
    pub(super) fn short_string(&mut self, value: &str) {
        self.i16(i16::try_from(value.len()).unwrap_or(i16::MAX));
        self.bytes.extend(value.as_bytes());
    }

    pub(super) fn string(&mut self, value: &str) {
        if self.flexible {
            self.compact_length(value.len());
            self.bytes.extend(value.as_bytes());
        } else {
            self.short_string(value);
        }
    }

    /// Bytes of the older form.
    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        self.bytes.extend(value);
    }

    /// The length of an array; `None` is the array that is not there.
    pub(super) fn length(&mut self, length: Option<usize>) {
        match (self.flexible, length) {
            (true, Some(length)) => self.compact_length(length),
            (true, None) => self.bytes.push(0),
            (false, length) => self.i32(length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX))),
        }
    }

    /// The end of a structure: no tagged fields.
    pub(super) fn end(&mut self) {
        if self.flexible {
            self.bytes.push(0);
        }
    }

    fn compact_length(&mut self, length: usize) {
        let mut rest = length + 1;
        while rest >= 0x80 {
            self.bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.bytes.push(rest as u8);
    }
}

/// An answer being read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { bytes, flexible }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Malformed)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn i8(&mut self) -> Result<i8, Malformed> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    fn unsigned(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u32::from(self.array::<1>()?[0]);
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// `None` is the string that is not there.
    pub(super) fn optional_string(&mut self) -> Result<Option<&'a str>, Malformed> {
        let length = if self.flexible { i64::from(self.unsigned()?) - 1 } else { i64::from(self.i16()?) };
        self.text(length)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        self.optional_string()?.ok_or(Malformed)
    }

    /// Bytes of the older form.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.i32()?;
        self.take(usize::try_from(length).map_err(|_| Malformed)?)
    }

    fn text(&mut self, length: i64) -> Result<Option<&'a str>, Malformed> {
        if length == -1 {
            return Ok(None);
        }
        let bytes = self.take(usize::try_from(length).map_err(|_| Malformed)?)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Malformed)
    }

    /// An array, element by element; one that is not there has none.
    pub(super) fn each<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let length = if self.flexible { i64::from(self.unsigned()?) - 1 } else { i64::from(self.i32()?) };
        if length == -1 {
            return Ok(Vec::new());
        }
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        // Each element has a byte at least; no room is made in advance for more than that.
        if length > self.bytes.len() {
            return Err(Malformed);
        }
        (0..length).map(|_| element(self)).collect()
    }

    /// The end of a structure: its tagged fields are passed over.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let size = self.unsigned()?;
            self.take(usize::try_from(size).map_err(|_| Malformed)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_what_they_write() {
        for flexible in [false, true] {
            for length in [0, 1, 126, 127, 128, 300, 20_000] {
                let text = "x".repeat(length);
                let mut writer = Writer::new(flexible);
                writer.string(&text);
                writer.length(Some(2));
                writer.i32(-7);
                writer.i32(i32::MAX);
                writer.length(None);
                writer.end();
                writer.i64(-1);
                let bytes = writer.into_bytes();
                let mut reader = Reader::new(&bytes, flexible);
                assert_eq!(reader.string(), Ok(text.as_str()));
                assert_eq!(reader.each(Reader::i32), Ok(vec![-7, i32::MAX]));
                assert_eq!(reader.each(Reader::i32), Ok(Vec::new()));
                assert_eq!(reader.end(), Ok(()));
                assert_eq!(reader.i64(), Ok(-1));
                assert_eq!(reader.i8(), Err(Malformed));
            }
        }
    }

    #[test]
    fn no_length_is_believed_that_the_answer_cannot_hold() {
        let huge = i32::MAX.to_be_bytes();
        assert_eq!(Reader::new(&huge, false).each(Reader::i8), Err(Malformed));
        assert_eq!(Reader::new(&huge, false).bytes(), Err(Malformed));
        assert_eq!(Reader::new(&[0xff; 9], true).each(Reader::i8), Err(Malformed));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f], true).optional_string(), Err(Malformed));
        assert_eq!(Reader::new(&[0x80, 0x00, 1], false).optional_string(), Err(Malformed));
        assert_eq!(Reader::new(&[0, 1, 0xff], false).optional_string(), Err(Malformed));
        assert_eq!(Reader::new(&[0xff, 0xff], false).optional_string(), Ok(None));
        // a tagged field is passed over
        assert_eq!(Reader::new(&[1, 9, 2, 0, 0], true).end(), Ok(()));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f], true).end(), Err(Malformed));
    }
}
