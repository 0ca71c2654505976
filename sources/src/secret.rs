//! A value that is never printed.

use std::fmt;

/// A credential: text, or bytes that are none. `Debug` and `Display` hide it; [`Secret::expose`] and [`Secret::expose_bytes`] are
/// the only ways out.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Secret(Value);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Value {
    Text(String),
    /// Never valid UTF-8.
    Bytes(Vec<u8>),
}

impl Secret {
    /// Wraps a credential.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(Value::Text(value.into()))
    }

    /// Wraps a credential that may be text or not.
    #[must_use]
    pub fn of_bytes(value: Vec<u8>) -> Self {
        Self(String::from_utf8(value).map_or_else(|error| Value::Bytes(error.into_bytes()), Value::Text))
    }

    /// Whether it is text. What asks for text must not be given anything else.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self.0, Value::Text(_))
    }

    /// The credential itself, nothing where it is not text. Never log, store or return it.
    #[must_use]
    pub fn expose(&self) -> &str {
        match &self.0 {
            Value::Text(text) => text,
            Value::Bytes(_) => "",
        }
    }

    /// The bytes of the credential itself, text or not. Never log, store or return them.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        match &self.0 {
            Value::Text(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_come_out_as_they_went_in() {
        let (text, bytes) = (Secret::of_bytes(b"pencil".to_vec()), Secret::of_bytes(vec![5, 2, 0xff, b' ']));
        assert_eq!((text.expose(), text.expose_bytes(), text.is_text()), ("pencil", &b"pencil"[..], true));
        assert_eq!((bytes.expose(), bytes.expose_bytes(), bytes.is_text()), ("", &[5, 2, 0xff, b' '][..], false));
        assert_eq!(text, Secret::new("pencil"));
        assert_eq!(format!("{text:?} {text} {bytes:?} {bytes}"), "Secret(***) *** Secret(***) ***");
    }
}
