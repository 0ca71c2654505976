//! Follows names of elements through an XML document. A document type definition is refused, and with it every entity.

use roxmltree::{Document, Node, ParsingOptions};

use super::path::{Path, Step};
use super::value::Missing;

/// Elements, texts and comments that are read at most.
const MAX_NODES: u32 = 1_000_000;

/// The text at the end of `path`, which may begin with the root's name or leave it out; `@name` is an attribute.
pub(super) fn find(text: &str, path: &Path) -> Result<Option<String>, Missing> {
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|_| Missing::Bad("its answer is not XML"))?;
    let names: Vec<&str> =
        path.0.iter().filter_map(|step| if let Step::Key(name) = step { Some(&**name) } else { None }).collect();
    let root = document.root_element();
    let within = |names: &[&str]| descend(root, names);
    match names.split_first() {
        Some((first, rest)) if *first == root.tag_name().name() => match within(rest)? {
            None => within(&names),
            found => Ok(found),
        },
        _ => within(&names),
    }
}

fn descend(root: Node<'_, '_>, names: &[&str]) -> Result<Option<String>, Missing> {
    let mut current = vec![root];
    for name in names {
        if let Ok(place) = name.parse::<usize>() {
            current = current.into_iter().nth(place).into_iter().collect();
            continue;
        }
        let [node] = current.as_slice() else {
            return if current.is_empty() { Ok(None) } else { Err(SEVERAL) };
        };
        if let Some(attribute) = name.strip_prefix('@') {
            return Ok(node.attribute(attribute).map(str::to_owned));
        }
        current = node.children().filter(|child| child.is_element() && child.tag_name().name() == *name).collect();
    }
    match current.as_slice() {
        [] => Ok(None),
        [node] => {
            if node.children().any(|child| child.is_element()) {
                return Err(Missing::Bad("at valueLocation stands an element with others within it"));
            }
            let text: String = node.children().filter(Node::is_text).filter_map(|child| child.text()).collect();
            Ok(Some(text))
        }
        _ => Err(SEVERAL),
    }
}

const SEVERAL: Missing = Missing::Bad("several elements have the name in valueLocation; write a position after it");
