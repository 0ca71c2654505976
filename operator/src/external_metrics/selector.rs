//! Reads the label selector by which the HPA names one scaled object. It never allocates, and refuses what it does not
//! understand instead of guessing.

use windlass_crd::Group;

const OWN_LABEL: &str = Group::Windlass.name_label();
const KEDA_LABEL: &str = Group::Keda.name_label();

/// Why a selector names no scaled object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The selector is empty, or something in it cannot be read.
    #[error("labelSelector must be {OWN_LABEL}=<name of one scaled object>")]
    Malformed,
    /// It selects by a label no scaled object is served under, or by two names at once.
    #[error("labelSelector selects nothing: only {OWN_LABEL} or {KEDA_LABEL}, with one name, can be selected by")]
    SelectsNothing,
}

/// The name of the scaled object that `selector` (percent-decoded) asks for, and the group by whose label: `windlass.dev`
/// where both are given. Understands `a=b`, `a==b`, `a in (b)` and
/// several of them with commas between, as long as they agree on one name.
///
/// # Errors
/// See [`SelectorError`].
pub fn object_name(selector: &str) -> Result<(Group, &str), SelectorError> {
    let mut found: Option<(Group, &str)> = None;
    let mut rest = selector.trim();
    if rest.is_empty() {
        return Err(SelectorError::Malformed);
    }
    loop {
        let (requirement, after) = split_requirement(rest);
        let (label, value) = parse_requirement(requirement)?;
        let group = match label {
            OWN_LABEL => Group::Windlass,
            KEDA_LABEL => Group::Keda,
            _ => return Err(SelectorError::SelectsNothing),
        };
        if found.is_some_and(|(_, name)| name != value) {
            return Err(SelectorError::SelectsNothing);
        }
        found = Some((found.map_or(group, |(other, _)| other.min(group)), value));
        match after {
            Some(next) => rest = next.trim(),
            None => return found.ok_or(SelectorError::Malformed),
        }
    }
}

/// The text up to the first comma outside of brackets, and what follows it.
fn split_requirement(text: &str) -> (&str, Option<&str>) {
    let mut depth = 0_u32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

fn parse_requirement(text: &str) -> Result<(&str, &str), SelectorError> {
    let (label, value) = if let Some((label, set)) = text.split_once(" in ") {
        let set = set.trim().strip_prefix('(').and_then(|set| set.strip_suffix(')')).ok_or(SelectorError::Malformed)?;
        (label.trim(), set.trim())
    } else if let Some((label, value)) = text.split_once("==") {
        (label.trim(), value.trim())
    } else {
        let (label, value) = text.split_once('=').ok_or(SelectorError::Malformed)?;
        (label.trim(), value.trim())
    };
    if label.ends_with('!') || value.contains(',') {
        return Err(SelectorError::SelectsNothing);
    }
    let is_plain =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'));
    if label.is_empty() || value.is_empty() || !is_plain(label) || !is_plain(value) {
        return Err(SelectorError::Malformed);
    }
    Ok((label, value))
}

#[cfg(test)]
mod tests {
    use super::{Group, SelectorError, object_name};

    #[test]
    fn selectors_as_the_hpa_and_people_write_them() {
        use SelectorError::{Malformed, SelectsNothing};
        let table = [
            ("scaledobject.windlass.dev/name=orders", Ok((Group::Windlass, "orders"))),
            ("scaledobject.windlass.dev/name==orders", Ok((Group::Windlass, "orders"))),
            ("scaledobject.windlass.dev/name = orders", Ok((Group::Windlass, "orders"))),
            ("scaledobject.windlass.dev/name in (orders)", Ok((Group::Windlass, "orders"))),
            ("scaledobject.windlass.dev/name in ( orders )", Ok((Group::Windlass, "orders"))),
            ("scaledobject.keda.sh/name=orders", Ok((Group::Keda, "orders"))),
            ("scaledobject.keda.sh/name=orders,scaledobject.windlass.dev/name=orders", Ok((Group::Windlass, "orders"))),
            (
                "scaledobject.keda.sh/name=orders, scaledobject.windlass.dev/name in (orders)",
                Ok((Group::Windlass, "orders")),
            ),
            ("scaledobject.windlass.dev/name=with.dots-and-dashes", Ok((Group::Windlass, "with.dots-and-dashes"))),
            ("scaledobject.keda.sh/name=a,scaledobject.windlass.dev/name=b", Err(SelectsNothing)),
            ("scaledobject.windlass.dev/name in (a,b)", Err(SelectsNothing)),
            ("scaledobject.windlass.dev/name!=orders", Err(SelectsNothing)),
            ("app=orders", Err(SelectsNothing)),
            ("scaledobject.windlass.dev/name=orders,app=x", Err(SelectsNothing)),
            ("", Err(Malformed)),
            ("  ", Err(Malformed)),
            (",", Err(Malformed)),
            ("scaledobject.windlass.dev/name", Err(Malformed)),
            ("scaledobject.windlass.dev/name=", Err(Malformed)),
            ("scaledobject.windlass.dev/name notin (orders)", Err(Malformed)),
            ("scaledobject.windlass.dev/name in orders", Err(Malformed)),
            ("scaledobject.windlass.dev/name in (orders", Err(Malformed)),
            ("scaledobject.windlass.dev/name=orders,", Err(Malformed)),
            ("=orders", Err(Malformed)),
            ("scaledobject.windlass.dev/name=a b", Err(Malformed)),
        ];
        for (selector, wanted) in table {
            assert_eq!(object_name(selector), wanted, "{selector:?}");
        }
    }
}
