//! Reading a trigger's string map with errors that name the field and the fix.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is wrong with one field and how to mend it. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {fix}")]
pub struct ConfigError {
    /// The field, as written in the object (for example `metadata.queueName`).
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

impl ConfigError {
    /// An error for `metadata.<key>`.
    pub fn metadata(key: &str, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { field: format!("metadata.{key}"), problem: problem.into(), fix: fix.into() }
    }
}

/// A trigger's metadata, read key by key; [`Metadata::finish`] refuses the keys that nobody asked for.
pub struct Metadata<'a> {
    map: &'a BTreeMap<String, String>,
    known: BTreeSet<&'static str>,
    errors: Vec<ConfigError>,
}

impl fmt::Debug for Metadata<'_> {
    /// Shows the keys only: a value may be a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("keys", &self.map.keys()).field("errors", &self.errors).finish_non_exhaustive()
    }
}

impl<'a> Metadata<'a> {
    /// Starts reading `map`.
    #[must_use]
    pub fn new(map: &'a BTreeMap<String, String>) -> Self {
        Self { map, known: BTreeSet::new(), errors: Vec::new() }
    }

    /// The trimmed value of `key`; an empty one counts as not given.
    pub fn optional(&mut self, key: &'static str) -> Option<&'a str> {
        self.known.insert(key);
        self.map.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The value of `key`, or an error with `fix`.
    pub fn required(&mut self, key: &'static str, fix: &str) -> Option<&'a str> {
        let value = self.optional(key);
        if value.is_none() {
            self.error(key, "is required", fix);
        }
        value
    }

    /// The value of `key` parsed, or `default`; `expected` says what is allowed.
    pub fn parsed<T: FromStr>(&mut self, key: &'static str, default: T, expected: &str) -> T {
        self.parsed_optional(key, expected).unwrap_or(default)
    }

    /// The value of `key` parsed, if given and valid.
    pub fn parsed_optional<T: FromStr>(&mut self, key: &'static str, expected: &str) -> Option<T> {
        let value = self.optional(key)?;
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.error(key, format!("{value:?} is not {expected}"), format!("write {expected}"));
        }
        parsed
    }

    /// A finite number of at least 0 (or, with `positive`, above 0).
    pub fn number(&mut self, key: &'static str, positive: bool) -> Option<f64> {
        let expected = if positive { "a number above 0" } else { "a number of at least 0" };
        let value = self.optional(key)?;
        match value.parse::<f64>() {
            Ok(n) if n.is_finite() && (n > 0.0 || (!positive && n >= 0.0)) => Some(n),
            _ => {
                self.error(key, format!("{value:?} is not {expected}"), format!("write {expected}"));
                None
            }
        }
    }

    /// `true` or `false` in any case, or `1` or `0`; `false` where it is not given.
    pub fn flag(&mut self, key: &'static str) -> bool {
        self.choice(key, &[("false", false), ("true", true), ("0", false), ("1", true)]).unwrap_or(false)
    }

    /// An error with `fix` if `key` is given: it exists elsewhere, and is not supported here yet.
    pub fn unsupported(&mut self, key: &'static str, fix: &str) {
        if self.optional(key).is_some() {
            self.error(key, "is not supported yet", fix);
        }
    }

    /// A whole number of milliseconds above 0.
    pub fn milliseconds(&mut self, key: &'static str) -> Option<Duration> {
        let value: u64 = self.parsed_optional(key, "a whole number of milliseconds")?;
        if value == 0 {
            self.error(key, "0 leaves no time to answer", "write a whole number of milliseconds above 0");
            return None;
        }
        Some(Duration::from_millis(value))
    }

    /// One of `choices`, compared without case; the first is the default.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.optional(key)?;
        let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(value)).map(|(_, choice)| *choice);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.error(key, format!("{value:?} is not known"), format!("write one of {}", names.join(", ")));
        }
        found
    }

    /// Records an error about `key`.
    pub fn error(&mut self, key: &str, problem: impl Into<String>, fix: impl Into<String>) {
        self.errors.push(ConfigError::metadata(key, problem, fix));
    }

    /// Whether an error was recorded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }

    /// All errors, with one for each key that was never asked for.
    #[must_use]
    pub fn finish(mut self) -> Vec<ConfigError> {
        for key in self.map.keys().filter(|key| !self.known.contains(key.as_str())) {
            let known: Vec<_> = self.known.iter().copied().collect();
            let fix = match nearest(key, &known) {
                Some(name) => format!("did you mean {name}? Known: {}", known.join(", ")),
                None => format!("remove it. Known: {}", known.join(", ")),
            };
            self.errors.push(ConfigError::metadata(key, "is not known to this trigger type", fix));
        }
        self.errors
    }
}

/// A metric's name as KEDA normalises it: `/ . : % ( )` become `-` (its `pkg/util/normalize_string.go`).
#[must_use]
pub(crate) fn normalised(name: &str) -> String {
    name.replace(['/', '.', ':', '%', '(', ')'], "-")
}

/// The known name nearest to `wrong`, if it is near enough to be a slip of the keyboard.
fn nearest<'n>(wrong: &str, known: &[&'n str]) -> Option<&'n str> {
    let wrong = wrong.to_ascii_lowercase();
    let limit = (wrong.len() / 3).max(1);
    known
        .iter()
        .map(|name| (distance(&wrong, &name.to_ascii_lowercase()), *name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's edit distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_nearest_neighbour() {
        let map = BTreeMap::from([("queueNmae".to_owned(), "q".to_owned())]);
        let mut metadata = Metadata::new(&map);
        metadata.optional("queueName");
        metadata.optional("host");
        let errors = metadata.finish();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].field, "metadata.queueNmae");
        assert!(errors[0].fix.starts_with("did you mean queueName?"), "{}", errors[0].fix);
    }

    #[test]
    fn numbers_that_are_no_counts_are_refused() {
        for bad in ["NaN", "inf", "-1", "0", "1e999", "ten"] {
            let map = BTreeMap::from([("value".to_owned(), bad.to_owned())]);
            let mut metadata = Metadata::new(&map);
            assert_eq!(metadata.number("value", true), None, "{bad}");
            assert_eq!(metadata.finish().len(), 1, "{bad}");
        }
    }

    #[test]
    fn distance_is_levenshteins() {
        for (a, b, want) in [("", "", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("ab", "ba", 2)] {
            assert_eq!(distance(a, b), want, "{a} {b}");
        }
    }
}
