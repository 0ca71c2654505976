//! Which sample of Prometheus' text format is meant: `name{label="value",other!="value"}`. This module looks into no answer.

/// A name and conditions on labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// The sample's name.
    pub name: String,
    /// All of them must hold.
    pub matchers: Vec<Matcher>,
}

/// A condition on a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Matcher {
    /// The label's name.
    pub label: String,
    /// Its value; a label that is not there has an empty one.
    pub value: String,
    /// Whether it must have this value, or must not.
    pub equal: bool,
}

type Problem = &'static str;

impl Selector {
    /// Understands a selector.
    ///
    /// # Errors
    /// What is wrong, in words that follow the field's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, mut rest) = identifier(text.trim());
        if name.is_empty() {
            return Err("does not begin with the name of a metric".to_owned());
        }
        let mut matchers = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside.trim_start();
            while !rest.starts_with('}') {
                let (matcher, after) = matcher(rest)?;
                matchers.push(matcher);
                rest = after.strip_prefix(',').unwrap_or(after).trim_start();
                if !after.starts_with([',', '}']) {
                    return Err("has labels without an end".to_owned());
                }
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        if !rest.trim().is_empty() {
            return Err("is more than a name and labels".to_owned());
        }
        Ok(Self { name: name.to_owned(), matchers })
    }
}

fn matcher(text: &str) -> Result<(Matcher, &str), Problem> {
    let (label, rest) = identifier(text);
    if label.is_empty() {
        return Err("has a label without a name");
    }
    let rest = rest.trim_start();
    if rest.starts_with("=~") || rest.starts_with("!~") {
        return Err("has a regular expression, which is not supported; use = and !=");
    }
    let (equal, rest) = match (rest.strip_prefix("!="), rest.strip_prefix('=')) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err("has a label without = or !="),
    };
    let (value, rest) = quoted(rest.trim_start()).ok_or("has a label whose value is not within quotes")?;
    Ok((Matcher { label: label.to_owned(), value, equal }, rest.trim_start()))
}

/// A name at the beginning, and what follows.
pub(super) fn identifier(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    text.split_at(end)
}

/// A text within quotes at the beginning, and what follows.
pub(super) fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let (mut value, mut characters) = (String::new(), inside.char_indices());
    while let Some((place, c)) = characters.next() {
        match c {
            '"' => return Some((value, inside.get(place + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                c => value.push(c),
            },
            c => value.push(c),
        }
    }
    None
}
