//! Paths into an answer, understood before anything is asked: GJSON's, without its modifiers and multipaths, and plain ones of names
//! and positions. This module looks into no answer.

/// Steps from the root of an answer to the number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub(super) Vec<Step>);

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The value of a key, or the element at a position.
    Key(String),
    /// The value of the one key that matches: `*` is any text, `?` any character, and `\` takes what follows as it is.
    Like(String),
    /// How many elements a list has.
    Count,
    /// The steps from each element, as a list of what is there.
    Each(Vec<Step>),
    /// The first element for which the condition holds.
    First(Condition),
    /// The steps from each element for which the condition holds, as a list.
    All(Condition, Vec<Step>),
}

/// What must hold for an element.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// From the element to what is compared; empty for the element itself.
    pub path: Vec<Step>,
    /// How it is compared, and with what; `None` if it only has to be there.
    pub comparison: Option<(Operator, String)>,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `%`: matches as `Step::Like` does.
    Like,
    /// `!%`
    NotLike,
}

/// Longest first, so that `<=` is not taken for `<`.
const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("!%", Operator::NotLike),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("%", Operator::Like),
];
const MAX_LENGTH: usize = 1024;
/// Conditions within conditions.
const MAX_DEPTH: usize = 8;

type Problem = &'static str;

impl Path {
    /// Understands a GJSON path.
    ///
    /// # Errors
    /// What is wrong, in words that follow the field's name.
    pub fn gjson(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("is longer than {MAX_LENGTH} bytes"));
        }
        Ok(Self(steps(text, 0)?))
    }

    /// Understands names and positions with dots between them; a position may stand in brackets, too. A `\` takes the dot or
    /// bracket after it as part of a name.
    ///
    /// # Errors
    /// What is wrong, in words that follow the field's name.
    pub fn plain(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("is longer than {MAX_LENGTH} bytes"));
        }
        let mut names = vec![String::new()];
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            match (c, names.last_mut()) {
                ('.' | '[', _) => names.push(String::new()),
                (']', _) => {}
                ('\\', Some(name)) => name.extend(characters.next()),
                (c, Some(name)) => name.push(c),
                (_, None) => {}
            }
        }
        // `[0]` at the beginning leaves an empty name before it.
        if names.len() > 1 && text.starts_with('[') {
            names.remove(0);
        }
        if names.iter().any(String::is_empty) {
            return Err("has an empty part".to_owned());
        }
        Ok(Self(names.into_iter().map(Step::Key).collect()))
    }
}

fn steps(text: &str, depth: usize) -> Result<Vec<Step>, Problem> {
    if depth > MAX_DEPTH {
        return Err("has too many conditions within conditions");
    }
    let mut steps = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (part, separator, after) = split(text, |c| c == '.' || c == '|')?;
        rest = separator.map(|_| after);
        if part.is_empty() {
            return Err("has an empty part");
        }
        let Some(hash) = part.strip_prefix('#') else {
            steps.push(name(part)?);
            continue;
        };
        let condition = match hash {
            "" => None,
            hash => Some(hash.strip_prefix('(').ok_or("has a # that is neither alone nor before a condition")?),
        };
        let (condition, all) = match condition.map(|text| (text.strip_suffix(")#"), text.strip_suffix(')'))) {
            None => (None, true),
            Some((Some(inner), _)) => (Some(self::condition(inner, depth)?), true),
            Some((None, Some(inner))) => (Some(self::condition(inner, depth)?), false),
            Some((None, None)) => return Err("has a condition without an end"),
        };
        let each = if all && separator == Some('.') {
            // What follows up to the next pipe is looked for in each element.
            let (inner, pipe, after) = split(after, |c| c == '|')?;
            rest = pipe.map(|_| after);
            Some(self::steps(inner, depth + 1)?)
        } else {
            None
        };
        steps.push(match (condition, all, each) {
            (None, _, None) => Step::Count,
            (None, _, Some(each)) => Step::Each(each),
            (Some(condition), true, each) => Step::All(condition, each.unwrap_or_default()),
            (Some(condition), false, _) => Step::First(condition),
        });
    }
    Ok(steps)
}

fn name(part: &str) -> Result<Step, Problem> {
    if part.starts_with('@') {
        return Err("has a modifier, which is not supported; if it is a name, write \\@");
    }
    if part.starts_with(['!', '{', '[']) {
        return Err("has a literal or a list of paths, which is not supported; if it is a name, write \\ before it");
    }
    let (mut plain, mut characters) = (String::new(), part.chars());
    while let Some(c) = characters.next() {
        match c {
            '*' | '?' => return Ok(Step::Like(part.to_owned())),
            '\\' => plain.push(characters.next().ok_or("ends with a \\")?),
            c => plain.push(c),
        }
    }
    Ok(Step::Key(plain))
}

fn condition(text: &str, depth: usize) -> Result<Condition, Problem> {
    let (path, separator, _) = split(text, |c| matches!(c, '=' | '!' | '<' | '>' | '%'))?;
    let path_steps = match path.trim() {
        "" => Vec::new(),
        path => steps(path, depth + 1)?,
    };
    if separator.is_none() {
        if path_steps.is_empty() {
            return Err("has an empty condition");
        }
        return Ok(Condition { path: path_steps, comparison: None });
    }
    let comparison = text.get(path.len()..).unwrap_or_default();
    let (operator, value) = OPERATORS
        .iter()
        .find_map(|(written, operator)| Some((*operator, comparison.strip_prefix(written)?)))
        .ok_or("has a comparison that is not known")?;
    let value = value.trim();
    if value.starts_with('~') {
        return Err("has a comparison with ~, which is not supported");
    }
    let value = match value.strip_prefix('"') {
        Some(quoted) => unquoted(quoted.strip_suffix('"').ok_or("has a text without an end")?),
        None => value.to_owned(),
    };
    Ok(Condition { path: path_steps, comparison: Some((operator, value)) })
}

fn unquoted(text: &str) -> String {
    let (mut plain, mut characters) = (String::new(), text.chars());
    while let Some(c) = characters.next() {
        if c == '\\' {
            plain.extend(characters.next());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// What stands before the first separator outside quotes and parentheses, the separator, and what stands after it.
fn split(text: &str, is_separator: impl Fn(char) -> bool) -> Result<(&str, Option<char>, &str), Problem> {
    let (mut open, mut quoted, mut escaped) = (0_usize, false, false);
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' if open > 0 => quoted = !quoted,
            _ if quoted => {}
            '(' => open += 1,
            ')' => open = open.saturating_sub(1),
            c if open == 0 && is_separator(c) => {
                let after = text.get(place + c.len_utf8()..).unwrap_or_default();
                return Ok((text.get(..place).unwrap_or_default(), Some(c), after));
            }
            _ => {}
        }
    }
    if open > 0 || quoted {
        return Err("has a condition without an end");
    }
    Ok((text, None, ""))
}
