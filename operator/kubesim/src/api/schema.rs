//! The structural schema of a custom resource: defaults, pruning, validation with the texts of the API server, and CEL
//! rules. It looks at one object at a time and changes nothing but what defaults and pruning say.

use std::fmt;

use serde_json::{Map, Value, json};

use super::rules::Rules;
use super::status::Cause;

/// See the module.
pub struct Schema {
    root: Value,
    rules: Option<Rules>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("has_rules", &self.rules.is_some()).finish_non_exhaustive()
    }
}

impl Schema {
    /// Understands an `openAPIV3Schema`.
    #[must_use]
    pub fn new(root: &Value) -> Self {
        Self { root: root.clone(), rules: Rules::of(root) }
    }

    /// Fills in defaults and takes away what the schema does not know.
    pub fn shape(&self, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            for name in ["spec", "status"] {
                if let (Some(value), Some(schema)) = (fields.get_mut(name), self.root["properties"].get(name)) {
                    shape(value, schema);
                }
            }
            let known = |name: &str| {
                matches!(name, "apiVersion" | "kind" | "metadata") || self.root["properties"].get(name).is_some()
            };
            if !preserves(&self.root) {
                fields.retain(|name, _| known(name));
            }
        }
    }

    /// What is wrong with an object that takes the place of `old`.
    #[must_use]
    pub fn check(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = Vec::new();
        check(object, &self.root, "", &mut causes);
        let Some(rules) = &self.rules else { return causes };
        if causes.iter().any(blocks) {
            let message = "Invalid value: null: some validation rules were not checked because the object was invalid; correct \
                           the existing errors to complete validation";
            let field = "<nil>".to_owned();
            causes.push(Cause { reason: "FieldValueInvalid", field, message: message.to_owned() });
        } else {
            rules.check(object, old, "", &mut causes);
        }
        causes
    }

    /// The paths of fields that the schema does not know.
    #[must_use]
    pub fn unknown(&self, object: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for (name, value) in object.as_object().into_iter().flatten() {
            match self.root["properties"].get(name) {
                _ if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") => {}
                Some(below) => unknown(value, below, name, &mut found),
                None if preserves(&self.root) => {}
                None => found.push(name.clone()),
            }
        }
        found.sort();
        found
    }

    /// The schema of the whole object.
    #[must_use]
    pub(super) const fn root(&self) -> &Value {
        &self.root
    }
}

/// Whether rules are not looked at any more: they might not understand the object.
fn blocks(cause: &Cause) -> bool {
    matches!(
        cause.reason,
        "FieldValueNotSupported"
            | "FieldValueRequired"
            | "FieldValueTooLong"
            | "FieldValueTooMany"
            | "FieldValueTypeInvalid"
    )
}

fn preserves(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn shape(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            let nothing = Map::new();
            let properties = schema["properties"].as_object().unwrap_or(&nothing);
            let additional = schema.get("additionalProperties").filter(|additional| **additional != json!(false));
            let is_embedded = schema["x-kubernetes-embedded-resource"] == true;
            if !preserves(schema) && additional.is_none() {
                let of_any = |name: &str| is_embedded && matches!(name, "apiVersion" | "kind" | "metadata");
                fields.retain(|name, _| properties.contains_key(name) || of_any(name));
            }
            for (name, below) in properties {
                let is_missing = fields.get(name).is_none_or(|value| value.is_null() && below["nullable"] != true);
                match below.get("default").filter(|_| is_missing) {
                    Some(default) => {
                        fields.insert(name.clone(), default.clone());
                    }
                    // A null that the schema does not allow is as nothing.
                    None if is_missing => {
                        fields.remove(name);
                    }
                    None => {}
                }
            }
            for (name, value) in fields.iter_mut() {
                if let Some(below) = properties.get(name).or(additional) {
                    shape(value, below);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.get("items") {
                items.iter_mut().for_each(|item| shape(item, below));
            }
        }
        _ => {}
    }
}

fn check(value: &Value, schema: &Value, at: &str, causes: &mut Vec<Cause>) {
    let field = || if at.is_empty() { "<nil>".to_owned() } else { at.to_owned() };
    let mut bad = |reason, message: String| causes.push(Cause { reason, field: field(), message });
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let either = schema["x-kubernetes-int-or-string"] == true;
    let wanted = if either { "integer,string" } else { schema["type"].as_str().unwrap_or_default() };
    let is_right = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "integer,string" => value.is_string() || value.is_i64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !is_right {
        let is = type_of(value);
        bad(
            "FieldValueTypeInvalid",
            format!("Invalid value: {is:?}: {} in body must be of type {wanted}: {is:?}", field()),
        );
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let names: Vec<_> = allowed.iter().map(shown).collect();
        bad(
            "FieldValueNotSupported",
            format!("Unsupported value: {}: supported values: {}", shown(value), names.join(", ")),
        );
    }
    if !is_right {
        return;
    }
    if let Some(number) = value.as_f64() {
        let (above, below) = (schema["exclusiveMinimum"] == true, schema["exclusiveMaximum"] == true);
        let is_low = |least: &f64| number < *least || (above && number == *least);
        let is_high = |most: &f64| number > *most || (below && number == *most);
        if let Some(least) = schema["minimum"].as_f64().filter(is_low) {
            let than = if above { "greater than" } else { "greater than or equal to" };
            let message = format!("{} in body should be {than} {least}", field());
            bad("FieldValueInvalid", format!("Invalid value: {}: {message}", shown(value)));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(is_high) {
            let than = if below { "less than" } else { "less than or equal to" };
            let message = format!("{} in body should be {than} {most}", field());
            bad("FieldValueInvalid", format!("Invalid value: {}: {message}", shown(value)));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as u64;
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            let message = format!("{} in body should be at least {least} chars long", field());
            bad("FieldValueInvalid", format!("Invalid value: {}: {message}", shown(value)));
        }
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            let message = format!("may not be more than {most} bytes");
            bad("FieldValueTooLong", format!("Too long: {message}"));
        }
    }
    if let Some(items) = value.as_array() {
        let count = items.len() as u64;
        if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
            let message = format!("{} in body should have at least {least} items", field());
            bad("FieldValueInvalid", format!("Invalid value: {count}: {message}"));
        }
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
            bad("FieldValueTooMany", format!("Too many: {count}: must have at most {most} items"));
        }
        twice(items, schema, at, causes);
        if let Some(below) = schema.get("items") {
            items.iter().enumerate().for_each(|(nth, item)| check(item, below, &format!("{at}[{nth}]"), causes));
        }
        return;
    }
    if let Some(fields) = value.as_object() {
        let within = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                let message = "Required value".to_owned();
                causes.push(Cause { reason: "FieldValueRequired", field: within(name), message });
            }
        }
        let additional = schema.get("additionalProperties").filter(|additional| additional.is_object());
        for (name, value) in fields {
            if let Some(below) = schema["properties"].get(name).or(additional) {
                check(value, below, &within(name), causes);
            }
        }
    }
}

/// Items that cannot be told apart, in lists whose items must be.
fn twice(items: &[Value], schema: &Value, at: &str, causes: &mut Vec<Cause>) {
    let kind = schema["x-kubernetes-list-type"].as_str().unwrap_or_default();
    if !matches!(kind, "map" | "set") {
        return;
    }
    let keys: Vec<&str> =
        schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let told = |item: &Value| match kind {
        "set" => item.clone(),
        _ => keys
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone())))
            .collect::<Map<_, _>>()
            .into(),
    };
    let told: Vec<Value> = items.iter().map(told).collect();
    for (nth, key) in told.iter().enumerate().filter(|(nth, key)| told[..*nth].contains(key)) {
        let message = format!("Duplicate value: {key}");
        causes.push(Cause { reason: "FieldValueDuplicate", field: format!("{at}[{nth}]"), message });
    }
}

/// The paths of fields that the schema does not know.
fn unknown(value: &Value, schema: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !preserves(schema) || schema["properties"].is_object() => {
            let additional = schema.get("additionalProperties").filter(|additional| **additional != json!(false));
            for (name, value) in fields {
                let within = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                match schema["properties"].get(name).or(additional) {
                    Some(below) => unknown(value, below, &within, found),
                    None if preserves(schema) => {}
                    None => found.push(within),
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.get("items") {
                items.iter().enumerate().for_each(|(nth, item)| unknown(item, below, &format!("{at}[{nth}]"), found));
            }
        }
        _ => {}
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "\"object\"".to_owned(),
        Value::Array(_) => "\"array\"".to_owned(),
        other => other.to_string(),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
