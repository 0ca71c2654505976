//! Reading a trigger's string map with errors that name the field and the fix.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::TriggerInput;

/// What is appended to a key to name an environment variable of the target's container in place of a value.
const FROM_ENV: &str = "FromEnv";

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

/// A trigger's metadata, read key by key. What a key says comes from the trigger itself, else from the target's environment
/// (`<key>FromEnv` names the variable), else from the trigger's authentication. The keys that nobody asked for are told by
/// [`Metadata::finish`].
pub struct Metadata<'a> {
    input: TriggerInput<'a>,
    known: BTreeSet<&'static str>,
    errors: Vec<ConfigError>,
    without_effect: Vec<ConfigError>,
}

impl fmt::Debug for Metadata<'_> {
    /// Shows the keys only: a value may be a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata").field("input", &self.input).field("errors", &self.errors).finish_non_exhaustive()
    }
}

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Trigger,
    Environment,
    Authentication,
}

impl<'a> Metadata<'a> {
    /// Starts reading.
    #[must_use]
    pub const fn new(input: TriggerInput<'a>) -> Self {
        Self { input, known: BTreeSet::new(), errors: Vec::new(), without_effect: Vec::new() }
    }

    /// What is being read.
    #[must_use]
    pub const fn input(&self) -> TriggerInput<'a> {
        self.input
    }

    /// The trimmed value of `key`; an empty one counts as not given.
    pub fn optional(&mut self, key: &'static str) -> Option<&'a str> {
        self.known.insert(key);
        self.find(key).map(|(value, _)| text(value).unwrap_or_default()).filter(|value| !value.is_empty())
    }

    /// The bytes of `key` as they are, text or not; blank text counts as not given. An authentication gives other bytes than text
    /// only for what [`crate::takes_bytes`].
    pub fn bytes(&mut self, key: &'static str) -> Option<&'a [u8]> {
        self.known.insert(key);
        self.find(key).map(|(value, _)| value)
    }

    /// Whether the value of `key` is written in the trigger itself, where everybody who may see the object reads it.
    #[must_use]
    pub fn is_public(&self, key: &str) -> bool {
        self.find(key).is_none_or(|(_, origin)| origin == Origin::Trigger)
    }

    fn find(&self, key: &str) -> Option<(&'a [u8], Origin)> {
        let TriggerInput { metadata, given, .. } = self.input;
        let from_env = || given.environment.get(metadata.get(&format!("{key}{FROM_ENV}"))?.trim());
        let written = metadata.get(key).map(|value| (value.as_bytes(), Origin::Trigger));
        [
            written,
            from_env().map(|value| (value.expose_bytes(), Origin::Environment)),
            given.parameters.get(key).map(|value| (value.expose_bytes(), Origin::Authentication)),
        ]
        .into_iter()
        .flatten()
        .find(|(value, _)| text(value) != Some(""))
    }

    /// How a value of `key` is shown to people: not at all where it may be a credential.
    fn shown(&self, key: &str, value: &str) -> String {
        if self.is_public(key) { format!("{value:?}") } else { "what is given".to_owned() }
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
            self.error(key, format!("{} is not {expected}", self.shown(key, value)), format!("write {expected}"));
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
                self.error(key, format!("{} is not {expected}", self.shown(key, value)), format!("write {expected}"));
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
            let problem = format!("{} is not known", self.shown(key, value));
            self.error(key, problem, format!("write one of {}", names.join(", ")));
        }
        found
    }

    /// Says that `key` has no effect, if it is given: an error where unknown keys are errors, else a remark.
    pub fn no_effect(&mut self, key: &'static str, why: &str) {
        if self.optional(key).is_some() {
            self.without_effect.push(ConfigError::metadata(key, format!("has no effect: {why}"), "remove it"));
        }
    }

    /// The same for those of `keys` that the trigger itself names: what else may give them may give more than is needed.
    pub fn unused(&mut self, keys: &[&'static str], why: &str) {
        for key in keys {
            self.optional(key);
            if self.is_public(key) {
                self.no_effect(key, why);
            }
        }
    }

    /// Refuses a `host` that `key` names, if the trigger or the target's environment names it and the authentication may not
    /// be sent there: whoever may write these could have a credential of somebody else sent to a host of their own.
    pub fn check_host(&mut self, key: &str, host: &str) {
        let given = self.input.given;
        let named_by_authentication = self.find(key).is_some_and(|(_, origin)| origin == Origin::Authentication);
        if !named_by_authentication && !given.allows(host) {
            let shown = self.shown(key, host);
            let problem = format!("the trigger's authentication may not be sent to {shown}");
            self.error(
                key,
                problem,
                "correct the host, or have it added to windlass.dev/allowed-hosts of the authentication",
            );
        }
    }

    /// Records an error about `key`, which is named as it was given.
    pub fn error(&mut self, key: &str, problem: impl Into<String>, fix: impl Into<String>) {
        let error = match self.find(key).map(|(_, origin)| origin) {
            Some(Origin::Authentication) => {
                ConfigError { field: format!("authenticationRef[{key}]"), problem: problem.into(), fix: fix.into() }
            }
            Some(Origin::Environment) => ConfigError::metadata(&format!("{key}{FROM_ENV}"), problem, fix),
            Some(Origin::Trigger) | None => ConfigError::metadata(key, problem, fix),
        };
        self.errors.push(error);
    }

    /// Whether an error was recorded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }

    /// Ends the reading: all errors, and what has no effect. A key that was never asked for is an error, or, where the
    /// object's group passes over such keys, has no effect. An authentication may give more than a trigger needs.
    #[must_use]
    pub fn finish(mut self) -> (Vec<ConfigError>, Vec<ConfigError>) {
        let TriggerInput { metadata, given, lenient, .. } = self.input;
        for (key, variable) in metadata {
            if self.known.contains(key.as_str()) {
                continue;
            }
            let variable = variable.trim();
            match key.strip_suffix(FROM_ENV).filter(|key| self.known.contains(key)) {
                Some(_) if given.environment.contains_key(variable) || variable.is_empty() => {}
                Some(named) => {
                    let problem = format!("the target's container has no environment variable {variable:?}");
                    let fix = "correct the name, or scaleTargetRef.envSourceContainerName";
                    let error = ConfigError::metadata(key, problem, fix);
                    let elsewhere = self.find(named).is_some();
                    if elsewhere { &mut self.without_effect } else { &mut self.errors }.push(error);
                }
                None => {
                    let known: Vec<_> = self.known.iter().copied().collect();
                    let fix = match nearest(key, &known) {
                        Some(name) => format!("did you mean {name}? Known: {}", known.join(", ")),
                        None => format!("remove it. Known: {}", known.join(", ")),
                    };
                    let problem = "is not known to this trigger type";
                    self.without_effect.push(ConfigError::metadata(key, problem, fix));
                }
            }
        }
        if !lenient {
            self.errors.append(&mut self.without_effect);
        }
        (self.errors, self.without_effect)
    }
}

/// A value as text, trimmed; `None` where it is none.
fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().map(str::trim)
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
#[path = "metadata_tests.rs"]
mod tests;
