//! Follows a path into an answer. Knows when there is nothing; never takes nothing for a number.

use serde_json::Value;

use super::path::{Condition, Operator, Path, Step};

/// What stands at the end of some steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found<'v> {
    /// A value of the answer.
    One(&'v Value),
    /// The length of a list.
    Count(usize),
    /// A list that the answer itself does not hold.
    Many(Vec<Found<'v>>),
}

/// What stands at the end of `path`, or `None` if there is nothing.
///
/// # Errors
/// What is wrong, in words for a person.
pub(super) fn find<'v>(root: &'v Value, path: &Path) -> Result<Option<Found<'v>>, &'static str> {
    walk(Found::One(root), &path.0)
}

fn walk<'v>(start: Found<'v>, steps: &[Step]) -> Result<Option<Found<'v>>, &'static str> {
    let mut found = start;
    for step in steps {
        match self::step(found, step)? {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

fn step<'v>(found: Found<'v>, step: &Step) -> Result<Option<Found<'v>>, &'static str> {
    match step {
        Step::Key(name) => Ok(match found {
            Found::One(Value::Object(map)) => map.get(name).map(Found::One),
            Found::One(Value::Array(list)) => position(name).and_then(|place| list.get(place)).map(Found::One),
            Found::Many(list) => position(name).and_then(|place| list.into_iter().nth(place)),
            Found::One(_) | Found::Count(_) => None,
        }),
        Step::Like(pattern) => {
            let Found::One(Value::Object(map)) = found else { return Ok(None) };
            let mut matching = map.iter().filter(|(name, _)| is_like(name, pattern));
            match (matching.next(), matching.next()) {
                (Some(_), Some(_)) => Err("several keys match valueLocation; name one"),
                (one, _) => Ok(one.map(|(_, value)| Found::One(value))),
            }
        }
        Step::Count => Ok(elements(found).map(|list| Found::Count(list.len()))),
        Step::Each(steps) => each(found, |_| Ok(true), steps),
        Step::First(condition) => {
            for element in elements(found).unwrap_or_default() {
                if holds(&element, condition)? {
                    return Ok(Some(element));
                }
            }
            Ok(None)
        }
        Step::All(condition, steps) => each(found, |element| holds(element, condition), steps),
    }
}

fn each<'v>(
    found: Found<'v>,
    wanted: impl Fn(&Found<'v>) -> Result<bool, &'static str>,
    steps: &[Step],
) -> Result<Option<Found<'v>>, &'static str> {
    let Some(list) = elements(found) else { return Ok(None) };
    let mut results = Vec::new();
    for element in list {
        if wanted(&element)? {
            results.extend(walk(element, steps)?);
        }
    }
    Ok(Some(Found::Many(results)))
}

fn elements(found: Found<'_>) -> Option<Vec<Found<'_>>> {
    match found {
        Found::One(Value::Array(list)) => Some(list.iter().map(Found::One).collect()),
        Found::Many(list) => Some(list),
        Found::One(_) | Found::Count(_) => None,
    }
}

/// A position is digits alone: `+1` and `01` are names.
fn position(name: &str) -> Option<usize> {
    let plain = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if plain { name.parse().ok() } else { None }
}

fn holds(element: &Found<'_>, condition: &Condition) -> Result<bool, &'static str> {
    let Some(found) = walk(element.clone(), &condition.path)? else { return Ok(false) };
    let Some((operator, wanted)) = &condition.comparison else { return Ok(true) };
    let Found::One(value) = found else { return Ok(false) };
    Ok(match value {
        Value::String(text) => match operator {
            Operator::Like => is_like(text, wanted),
            Operator::NotLike => !is_like(text, wanted),
            _ => ordered(*operator, text.as_str().cmp(wanted.as_str())),
        },
        Value::Number(number) => match (number.as_f64(), wanted.parse::<f64>()) {
            (Some(number), Ok(wanted)) => {
                number.partial_cmp(&wanted).is_some_and(|ordering| ordered(*operator, ordering))
            }
            _ => false,
        },
        Value::Bool(true) => literal("true", *operator, wanted),
        Value::Bool(false) => literal("false", *operator, wanted),
        Value::Null => literal("null", *operator, wanted),
        Value::Array(_) | Value::Object(_) => false,
    })
}

fn literal(value: &str, operator: Operator, wanted: &str) -> bool {
    match operator {
        Operator::Equal => value == wanted,
        Operator::NotEqual => value != wanted,
        _ => false,
    }
}

fn ordered(operator: Operator, ordering: std::cmp::Ordering) -> bool {
    match operator {
        Operator::Equal => ordering.is_eq(),
        Operator::NotEqual => ordering.is_ne(),
        Operator::Less => ordering.is_lt(),
        Operator::LessOrEqual => ordering.is_le(),
        Operator::Greater => ordering.is_gt(),
        Operator::GreaterOrEqual => ordering.is_ge(),
        Operator::Like | Operator::NotLike => false,
    }
}

/// Whether `text` matches `pattern`; takes time in proportion to the product of their lengths at most.
pub(super) fn is_like(text: &str, pattern: &str) -> bool {
    enum Token {
        Any,
        One,
        Exact(char),
    }
    let mut tokens = Vec::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Exact(characters.next().unwrap_or('\\')),
            c => Token::Exact(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut token, mut back) = (0, 0, None);
    while at < text.len() {
        match (tokens.get(token), text.get(at)) {
            (Some(Token::Any), _) => {
                back = Some((at, token));
                token += 1;
            }
            (Some(Token::One), _) => (at, token) = (at + 1, token + 1),
            (Some(Token::Exact(wanted)), Some(found)) if wanted == found => (at, token) = (at + 1, token + 1),
            _ => match back {
                // The last star takes one character more.
                Some((place, star)) => {
                    back = Some((place + 1, star));
                    (at, token) = (place + 1, star + 1);
                }
                None => return false,
            },
        }
    }
    tokens.iter().skip(token).all(|token| matches!(token, Token::Any))
}
