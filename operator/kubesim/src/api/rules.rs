//! The CEL rules of a custom resource (`x-kubernetes-validations`). They are compiled once, with the schema, and say of an
//! object what is wrong; they change nothing.

use std::collections::BTreeMap;
use std::fmt;

use cel::objects::{Key, Map};
use cel::{Context, Program};
use serde_json::Value;

use super::status::Cause;

/// The rules at a place in a schema, and below it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    own: Vec<Rule>,
    fields: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    entries: Option<Box<Rules>>,
}

struct Rule {
    /// Nothing where the rule cannot be understood: it never holds then, as the API server would not have taken it.
    program: Option<Program>,
    compares: bool,
    message: String,
    reason: &'static str,
    /// The field that is to blame, below the one with the rule.
    blames: String,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Rules {
    /// The rules of a schema; nothing where it has none.
    pub(super) fn of(schema: &Value) -> Option<Self> {
        let list = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
        let fields = schema["properties"].as_object().into_iter().flatten();
        let below = |name: &str| schema.get(name).and_then(Self::of).map(Box::new);
        let rules = Self {
            own: list.map(Rule::new).collect(),
            fields: fields.filter_map(|(name, below)| Some((name.clone(), Self::of(below)?))).collect(),
            items: below("items"),
            entries: below("additionalProperties"),
        };
        let is_empty =
            rules.own.is_empty() && rules.fields.is_empty() && rules.items.is_none() && rules.entries.is_none();
        (!is_empty).then_some(rules)
    }

    /// What is wrong with a value that takes the place of `old`.
    pub(super) fn check(&self, value: &Value, old: Option<&Value>, at: &str, causes: &mut Vec<Cause>) {
        // A field that is null is as one that is not there.
        if value.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        causes.extend(self.own.iter().filter_map(|rule| rule.broken(value, old, at)));
        let within = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        for (name, rules) in &self.fields {
            if let Some(value) = value.get(name) {
                rules.check(value, old.and_then(|old| old.get(name)), &within(name), causes);
            }
        }
        if let Some(rules) = &self.items {
            // Items of a list have no predecessors: nothing says which was which.
            for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
                rules.check(item, None, &format!("{at}[{nth}]"), causes);
            }
        }
        if let Some(rules) = &self.entries {
            for (name, value) in value.as_object().into_iter().flatten() {
                rules.check(value, old.and_then(|old| old.get(name)), &format!("{at}[{name}]"), causes);
            }
        }
    }
}

impl Rule {
    fn new(rule: &Value) -> Self {
        let text = rule["rule"].as_str().unwrap_or_default();
        Self {
            program: Program::compile(text).ok(),
            compares: text.contains("oldSelf"),
            message: rule["message"].as_str().map_or_else(|| format!("failed rule: {text}"), str::to_owned),
            reason: match rule["reason"].as_str() {
                Some("FieldValueForbidden") => "FieldValueForbidden",
                Some("FieldValueRequired") => "FieldValueRequired",
                Some("FieldValueDuplicate") => "FieldValueDuplicate",
                _ => "FieldValueInvalid",
            },
            blames: rule["fieldPath"].as_str().unwrap_or_default().to_owned(),
        }
    }

    fn broken(&self, value: &Value, old: Option<&Value>, at: &str) -> Option<Cause> {
        if (self.compares && old.is_none()) || self.holds(value, old) {
            return None;
        }
        let field = format!("{at}{}", self.blames);
        let field = field.trim_start_matches('.').to_owned();
        let field = if field.is_empty() { "<nil>".to_owned() } else { field };
        let shown = if value.is_object() || value.is_array() { String::new() } else { format!(": {value}") };
        let message = match self.reason {
            "FieldValueForbidden" => format!("Forbidden: {}", self.message),
            "FieldValueRequired" => format!("Required value: {}", self.message),
            "FieldValueDuplicate" => format!("Duplicate value{shown}"),
            _ => format!("Invalid value{shown}: {}", self.message),
        };
        Some(Cause { reason: self.reason, field, message })
    }

    fn holds(&self, value: &Value, old: Option<&Value>) -> bool {
        let Some(program) = &self.program else { return false };
        let mut context = Context::default();
        context.add_variable_from_value("self", seen(value));
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", seen(old));
        }
        matches!(program.execute(&context), Ok(cel::Value::Bool(true)))
    }
}

/// A value as rules see it: whole numbers are signed, and fields that are null are not there.
fn seen(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(is) => cel::Value::Bool(*is),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)), cel::Value::Int)
        }
        Value::String(text) => cel::Value::String(text.clone().into()),
        Value::Array(items) => cel::Value::List(items.iter().map(seen).collect::<Vec<_>>().into()),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let map = fields.map(|(name, value)| (Key::String(name.clone().into()), seen(value))).collect();
            cel::Value::Map(Map { map: std::sync::Arc::new(map) })
        }
    }
}
